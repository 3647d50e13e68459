// SPDX-License-Identifier: BSD-3-Clause
// A worker that scribbles over its shared memory harms nobody but the tasks that it was given.
//
// Thousands of random scribbles; the seed is printed. OWNGIL_SEED repeats one, OWNGIL_SCRIBBLES
// says how many.
#include "ipc/buffer_list.hpp"
#include "ipc/clock.hpp"
#include "ipc/item.hpp"
#include "runtime/result_arena.hpp"
#include "tests/runtime/played_workers.hpp"
#include "tests/runtime/scribbler.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace owngil::runtime {
namespace {

#ifdef __SANITIZE_THREAD__
constexpr bool kRacesAreReported = true;  // and scribbles are nothing else
#else
constexpr bool kRacesAreReported = false;
#endif

constexpr std::uint32_t kWorkers = 3;
constexpr Lane kScribbler = 0;
constexpr std::uint64_t kPatienceNs = 60'000'000'000;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class ScribblesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (kRacesAreReported) GTEST_SKIP() << "scribbles are data races";
    const std::uint64_t seed = number_from("OWNGIL_SEED", std::random_device{}());
    std::printf("OWNGIL_SEED=%llu\n", static_cast<unsigned long long>(seed));
    random_.seed(seed);
    world_.instead = [this, seed](const PlayedWorkers::Stage& stage) {
      if (stage.channel.header.rank != kScribbler) return false;
      const std::uint64_t life = ++lives_;
      const std::uint64_t scribbles = life % 40;
      Scribbler(stage.channel, stage.results, seed + life).live(scribbles, stage.is_killed);
      scribbles_ += scribbles;
      return true;
    };
    SupervisorOptions options;
    options.workers = kWorkers;
    options.has_fallback = has_fallback();
    options.cpus = 2;
    options.arena_size = kTestArena;
    options.restarts.losses = RestartLimit::kNone;  // who scribbles is lost again and again
    options.restarts.retry_ns = 0;
    supervisor_ = new Supervisor(options, world_.launcher());
    world_.control(*supervisor_);
    function_ = supervisor_->add_blob(bytes_of("a function"));
    supervisor_->start(nullptr);
  }

  void TearDown() override {
    if (supervisor_ == nullptr) return;
    supervisor_->shutdown(false);
    const std::uint64_t deadline = ipc::now_ns() + kPatienceNs;
    WaitEnd end = WaitEnd::signal;
    while (end == WaitEnd::signal) end = supervisor_->wait_ended(deadline);
    EXPECT_EQ(end, WaitEnd::ready);
    world_.stop();
    supervisor_->release();
  }

  // Whether the scribbler may refuse tasks, which takes functions away from all of its kind.
  virtual bool has_fallback() const { return false; }

  bool is_scribblers(Rank rank) const { return Lanes{has_fallback()}.lane_of(rank) == kScribbler; }

  std::string broken() const {
    return supervisor_->is_broken() ? supervisor_->broken_reason() : "not broken";
  }

  template <class T>
  void wait_for(T& what) {
    const std::uint64_t deadline = ipc::now_ns() + kPatienceNs;
    WaitEnd end = WaitEnd::signal;
    while (end == WaitEnd::signal) end = supervisor_->wait(what, deadline);
    ASSERT_EQ(end, WaitEnd::ready) << "it hangs";
  }

  // Calls whose answer is their argument. Those that the scribbler had may end in any way.
  void check_calls() {
    std::vector<std::pair<Task*, std::string>> calls;
    for (int i = 0; i < 40; ++i) {
      std::string payload = "echo " + std::to_string(++calls_);
      if (random_() % 8 == 0) payload.resize(random_() % 5000 + payload.size(), 'x');
      const Policy terms{.timeout_ns = kPatienceNs, .retries = 1, .retry_died = true};
      const Policy* const policy = random_() % 3 == 0 ? &terms : nullptr;
      Task* task = nullptr;
      ASSERT_EQ(
          supervisor_->submit({function_, 0, ipc::Format::tagged, bytes_of(payload)}, task, policy),
          Admission::admitted)
          << broken();
      if (random_() % 10 == 0) static_cast<void>(supervisor_->watch(*task, nullptr));
      calls.emplace_back(task, std::move(payload));
    }
    for (const auto& [task, payload] : calls) {
      wait_for(*task);
      if (HasFatalFailure()) return;
      if (!is_scribblers(task->rank)) {
        ASSERT_EQ(task->ending, Ending::returned);
        const bool on_heap = task->place == Task::Place::heap;
        const auto* text = reinterpret_cast<const char*>(on_heap ? task->heap.data : task->bytes);
        ASSERT_EQ(std::string_view(text, on_heap ? task->heap.size : task->size), payload);
        ++right_;
      }
      supervisor_->forget(*task);
    }
  }

  // Calls with buffers, which are answered with buffers that hold the same.
  void check_buffers() {
    struct Sent {
      Task* task;
      std::vector<std::uint64_t> words;  // of which each buffer consists, all the same
    };
    std::vector<Sent> calls;
    for (int i = 0; i < 12; ++i) {
      Sent sent{};
      ipc::BufferListHead head{};
      std::vector<std::byte> refs;
      for (std::uint64_t left = random_() % 3; left > 0; --left) {
        const std::uint64_t size = 8 * (2 * 1024 + random_() % (10 * 1024));  // whole pages
        const auto buffer = supervisor_->new_buffer(size);
        if (!buffer) continue;  // the scribbler has not let go of others
        sent.words.push_back(random_());
        auto* const at = reinterpret_cast<std::uint64_t*>(supervisor_->buffer_at(*buffer));
        std::fill_n(at, size / 8, sent.words.back());
        const auto* const ref = reinterpret_cast<const std::byte*>(&*buffer);
        refs.insert(refs.end(), ref, ref + sizeof *buffer);
        ++head.count;
      }
      std::vector<std::byte> payload(sizeof head);
      std::memcpy(payload.data(), &head, sizeof head);
      payload.insert(payload.end(), refs.begin(), refs.end());
      const auto rest = bytes_of("echo");
      payload.insert(payload.end(), rest.begin(), rest.end());
      ASSERT_EQ(supervisor_->submit({function_, 0, ipc::Format::buffers, payload}, sent.task),
                Admission::admitted)
          << broken();
      calls.push_back(std::move(sent));
    }
    for (const auto& [task, words] : calls) {
      wait_for(*task);
      if (HasFatalFailure()) return;
      if (!is_scribblers(task->rank)) {
        ASSERT_EQ(task->ending, Ending::returned);
        const bool on_heap = task->place == Task::Place::heap;
        const auto list = on_heap ? ipc::BufferList::read({task->heap.data, task->heap.size})
                                  : ipc::BufferList::read({task->bytes, task->size});
        ASSERT_TRUE(list && list->size() == words.size());
        for (std::uint32_t n = 0; n != list->size(); ++n) {
          const auto* const at =
              reinterpret_cast<const std::uint64_t*>(task->heap.arena->at((*list)[n]));
          for (std::uint64_t word = 0; word != (*list)[n].size / 8; ++word) {
            ASSERT_EQ(at[word], words[n]);
          }
        }
        ++right_;
      } else if (task->ending == Ending::returned && task->place == Task::Place::heap &&
                 task->heap.arena != nullptr) {
        // Whoever decodes it reads them.
        const auto list = ipc::BufferList::read({task->heap.data, task->heap.size});
        for (std::uint32_t n = 0; n != list->size(); ++n) {
          const auto buffer = (*list)[n];
          seen_ += std::to_integer<unsigned>(task->heap.arena->at(buffer)[buffer.size - 1]);
        }
      }
      supervisor_->forget(*task);
    }
  }

  void check_map() {
    MapJob& job =
        *supervisor_->open_map(function_, 0, 1 + static_cast<std::uint32_t>(random_() % 9));
    constexpr std::size_t kItemBytes = ipc::kShortHead + sizeof(std::uint64_t);
    const std::uint32_t count = 60;
    std::vector<std::byte> bytes(count * kItemBytes);
    for (std::uint64_t item = 0; item < count; ++item) {
      std::byte* const at = ipc::put_item_head(bytes.data() + item * kItemBytes, sizeof item,
                                               ipc::Format::tagged, ipc::Status::returned);
      std::memcpy(at, &item, sizeof item);
    }
    ASSERT_EQ(supervisor_->add_items(job, bytes, count), Admission::admitted) << broken();
    for (std::uint32_t done = 0; done < count;) {
      Segment* const segment = supervisor_->ready_segment(job);
      if (segment == nullptr) {
        wait_for(job);
        if (HasFatalFailure()) return;
        continue;
      }
      if (!is_scribblers(segment->rank)) {
        ASSERT_EQ(segment->ending, Ending::returned);
        for (std::uint32_t i = 0; i < segment->count; ++i) {
          std::uint64_t item = 0;
          std::memcpy(&item, segment->heap.data + kItemBytes * i + ipc::kShortHead, sizeof item);
          ASSERT_EQ(item, done + i);
        }
        right_ += segment->count;
      }
      done += segment->count;
      supervisor_->consume_segment(job);
    }
    supervisor_->close_map(job);
  }

  PlayedWorkers world_;
  Supervisor* supervisor_ = nullptr;
  std::uint32_t function_ = 0;
  std::mt19937_64 random_;
  std::uint64_t calls_ = 0;
  std::uint64_t right_ = 0;
  std::uint64_t seen_ = 0;  // so that reading is something
  std::atomic<std::uint64_t> lives_{0};
  std::atomic<std::uint64_t> scribbles_{0};
};

// So many times a share of the scribbles: a limit in time holds for each.
constexpr int kShares = 10;

class ScribblesShare : public ScribblesTest, public testing::WithParamInterface<int> {
 protected:
  bool has_fallback() const override { return GetParam() % 2 != 0; }
};

TEST_P(ScribblesShare, HarmsNothingButTheTasksThatTheScribblerWasGiven) {
  const std::uint64_t wanted = number_from("OWNGIL_SCRIBBLES", 10'000) / kShares;
  while (scribbles_ < wanted) {
    ASSERT_NO_FATAL_FAILURE(check_calls());
    ASSERT_NO_FATAL_FAILURE(check_map());
    ASSERT_NO_FATAL_FAILURE(check_buffers());
    ASSERT_FALSE(supervisor_->is_broken()) << broken();
  }
  EXPECT_GT(right_, 0U);
  std::printf("%llu scribbles in %llu lives; %llu calls and items of other workers were right\n",
              static_cast<unsigned long long>(scribbles_.load()),
              static_cast<unsigned long long>(lives_.load()),
              static_cast<unsigned long long>(right_));
}

INSTANTIATE_TEST_SUITE_P(Each, ScribblesShare, testing::Range(0, kShares));

}  // namespace
}  // namespace owngil::runtime

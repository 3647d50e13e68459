// SPDX-License-Identifier: BSD-3-Clause
// The channel between two threads; ThreadSanitizer sees both ends here, across processes it cannot.
#include "channel_memory.hpp"
#include "ipc/channel.hpp"
#include "ipc/futex.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <thread>
#include <vector>

namespace owngil::ipc {
namespace {

using testing::ChannelMemory;
using testing::Message;
using testing::push;
using testing::serve;
using testing::wait_for_ring;

constexpr std::uint64_t kStop = ~std::uint64_t{0};

// Serves until it has claimed the task kStop. Returns how many it claimed before.
std::uint64_t work(ChannelMemory& memory) {
  WorkerEnd worker(memory.channel, memory.board_as_worker, memory.caller_bell.get(),
                   memory.control_bell.get());
  worker.set_state(WorkerState::ready, 1);
  std::uint64_t served = 0;
  std::uint64_t released = 0;
  while (true) {
    if (worker.front_task() == nullptr && !worker.spin_for_task()) {
      worker.sleep_for_task(kForever);
      continue;
    }
    const bool last = worker.front_task()->task == kStop;
    served += serve(worker) ? 1 : 0;
    while (const auto offset = worker.pop_release()) {
      EXPECT_EQ(*offset, released++);
    }
    if (last) {
      return served - 1;
    }
  }
}

class ChannelThreadsTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  // Sleeps on the caller's bell until there is a result.
  const ResultSlot& next_result() {
    const ResultSlot* result = nullptr;
    while ((result = supervisor_.front_result()) == nullptr) {
      bell_.set(Bell::caller);
      if (supervisor_.set_notify_at(supervisor_.result_position() + 1)) {
        wait_for_ring(memory_.caller_bell);
      }
      bell_.set(Bell::nobody);
    }
    return *result;
  }

  ChannelMemory memory_;
  SupervisorEnd supervisor_{memory_.channel};
  BellOwner bell_{memory_.board};
};

TEST_P(ChannelThreadsTest, EveryTaskIsAnsweredInOrderWhoeverSleepsWhen) {
  supervisor_.set_spin_ns(GetParam());
  std::thread thread([this] { work(memory_); });
  std::mt19937_64 random(5);
  std::uint64_t pushed = 0;
  std::uint64_t answered = 0;
  constexpr std::uint64_t kTasks = 5'000;
  while (answered < kTasks) {
    // a burst of any size, then as many answers as one likes
    for (std::uint64_t burst = random() % 8;
         burst > 0 && pushed < kTasks && pushed - answered < kRingSlots; --burst, ++pushed) {
      ASSERT_TRUE(push(supervisor_, pushed));
      supervisor_.wake_if_asleep();
    }
    for (std::uint64_t burst = random() % 8; burst > 0 && answered < pushed; --burst, ++answered) {
      const ResultSlot& result = next_result();
      ASSERT_EQ(result.task, answered);
      ASSERT_TRUE(Message(result.bytes).intact());
      supervisor_.pop_result();
      while (!supervisor_.try_push_release(answered)) {
        std::this_thread::yield();
      }
    }
  }
  ASSERT_TRUE(push(supervisor_, kStop));
  supervisor_.wake_if_asleep();
  thread.join();
}

TEST_P(ChannelThreadsTest, ATaskIsEitherTakenBackOrAnswered) {
  supervisor_.set_spin_ns(GetParam());
  std::uint64_t served = 0;
  std::thread thread([this, &served] { served = work(memory_); });
  std::mt19937_64 random(6);
  constexpr std::uint64_t kTasks = 5'000;
  std::vector<bool> taken(kTasks);
  std::uint64_t taken_back = 0;
  std::uint64_t next_answer = 0;
  const auto skip_taken = [&] {
    while (next_answer < kTasks && taken[next_answer]) {
      ++next_answer;
    }
  };
  const auto collect = [&] {
    while (const ResultSlot* result = supervisor_.front_result()) {
      skip_taken();
      ASSERT_EQ(result->task, next_answer);
      ++next_answer;
      supervisor_.pop_result();
    }
    skip_taken();
  };
  for (std::uint64_t task = 0; task < kTasks; ++task) {
    while (task - next_answer >= kRingSlots || !push(supervisor_, task)) {  // I5
      std::this_thread::yield();
      collect();
    }
    supervisor_.wake_if_asleep();
    collect();
    const std::uint64_t position = task - random() % 4;
    if (position <= task && !taken[position] && supervisor_.try_take_back(position)) {
      taken[position] = true;
      ++taken_back;
    }
  }
  while (!push(supervisor_, kStop)) {
    std::this_thread::yield();
  }
  supervisor_.wake_if_asleep();
  thread.join();
  EXPECT_EQ(served + taken_back, kTasks);
}

TEST_P(ChannelThreadsTest, ProgressIsSeenInOrderWhileTheWorkerGoesOn) {
  constexpr std::uint64_t kChunks = 500;
  constexpr std::uint64_t kItems = 20;
  std::vector<std::uint64_t> items(kItems);  // written by the worker, ordered by set_progress
  std::thread thread([this, &items] {
    WorkerEnd worker(memory_.channel, memory_.board_as_worker, -1, -1);
    worker.begin(1, 1);
    worker.set_chain({64, 64});
    for (std::uint64_t item = 0; item < kItems; ++item) {
      items[item] = item + 1;
      worker.set_progress(item + 1);
    }
    for (std::uint64_t chunk = 2; chunk <= kChunks; ++chunk) {
      worker.begin(chunk, chunk);
    }
  });
  std::uint64_t seen = 0;
  std::uint64_t last_task = 0;
  while (last_task < kChunks) {
    const CurrentView view = supervisor_.current();
    ASSERT_GE(view.task, last_task);
    last_task = view.task;
    if (view.task == 1 && view.progress > 0 && view.chain.size > 0) {
      ASSERT_LE(view.progress, kItems);
      for (; seen < view.progress; ++seen) {
        ASSERT_EQ(items[seen], seen + 1);
      }
    }
    std::this_thread::yield();
  }
  thread.join();
}

INSTANTIATE_TEST_SUITE_P(SpinNs, ChannelThreadsTest, ::testing::Values(0, 5'000));

}  // namespace
}  // namespace owngil::ipc

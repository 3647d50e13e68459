// SPDX-License-Identifier: BSD-3-Clause
// A supervisor whose workers are played by threads, and short words for what tests ask of it.
#pragma once

#include "ipc/clock.hpp"
#include "ipc/futex.hpp"
#include "ipc/item.hpp"
#include "tests/runtime/played_workers.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace owngil::runtime {

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class SupervisorTest : public testing::Test {
 protected:
  void open(std::uint32_t workers, std::uint64_t max_tasks = 0) {
    SupervisorOptions options;
    options.workers = workers;
    options.max_tasks_per_worker = max_tasks;
    open(options);
  }

  void open(SupervisorOptions options) {
    options.cpus = 2;
    options.arena_size = kTestArena;
    supervisor_ = new Supervisor(options, world_.launcher());
    world_.control(*supervisor_);
    function_ = supervisor_->add_blob(bytes_of("a function"));
    supervisor_->start(nullptr);
  }

  void TearDown() override {
    if (supervisor_ == nullptr) return;
    supervisor_->shutdown(false);
    world_.open();
    EXPECT_EQ(wait_ended(), WaitEnd::ready);
    world_.stop();
    supervisor_->release();
  }

  // For half a minute at most.
  WaitEnd wait_ended() {
    const std::uint64_t deadline = ipc::now_ns() + 30'000'000'000;
    WaitEnd end = WaitEnd::signal;  // it also says so when it is time to look for one
    while (end == WaitEnd::signal) end = supervisor_->wait_ended(deadline);
    return end;
  }

  Task& submit(std::string_view payload, const Policy* policy = nullptr) {
    Task* task = nullptr;
    EXPECT_EQ(
        supervisor_->submit({function_, 0, ipc::Format::tagged, bytes_of(payload)}, task, policy),
        Admission::admitted);
    return *task;
  }

  // Waits; the payload of the outcome.
  std::string result(Task& task) {
    while (supervisor_->wait(task, ipc::kForever) == WaitEnd::signal) {
    }
    const std::byte* data = task.place == Task::Place::heap ? task.heap.data : task.bytes;
    const std::size_t size = task.place == Task::Place::heap ? task.heap.size : task.size;
    return {reinterpret_cast<const char*>(data), size};
  }

  Ending ending(Task& task) {
    static_cast<void>(result(task));
    const Ending ending = task.ending;
    supervisor_->forget(task);
    return ending;
  }

  static std::vector<std::byte> encoded(const std::vector<std::string>& items) {
    std::vector<std::byte> bytes;
    for (const std::string& item : items) {
      std::byte head[ipc::kLongHead];
      const std::byte* const end =
          ipc::put_item_head(head, item.size(), ipc::Format::tagged, ipc::Status::returned);
      bytes.insert(bytes.end(), static_cast<const std::byte*>(head), end);
      bytes.insert(bytes.end(), bytes_of(item).begin(), bytes_of(item).end());
    }
    return bytes;
  }

  // All results of a map: the payloads of those that returned or raised, the ending of others.
  std::vector<std::string> run_map(const std::vector<std::string>& items, std::uint32_t chunk_size,
                                   const Policy* policy = nullptr) {
    MapJob& job = *supervisor_->open_map(function_, 0, chunk_size, policy);
    EXPECT_EQ(supervisor_->add_items(job, encoded(items), items.size()), Admission::admitted);
    std::vector<std::string> results;
    while (results.size() < items.size()) {
      Segment* segment = supervisor_->ready_segment(job);
      if (segment == nullptr) {
        static_cast<void>(supervisor_->wait(job, ipc::kForever));
        continue;
      }
      std::size_t offset = 0;
      for (std::uint32_t i = 0; i < segment->count; ++i) {
        if (segment->ending != Ending::returned) {
          results.emplace_back(word_for(segment->ending));
          continue;
        }
        const std::span<const std::byte> rest(segment->heap.data + offset,
                                              segment->heap.size - offset);
        const ipc::Item item = ipc::read_item(rest).value();
        results.emplace_back(reinterpret_cast<const char*>(rest.data() + item.head), item.size);
        offset += item.end();
      }
      supervisor_->consume_segment(job);
    }
    supervisor_->close_map(job);
    return results;
  }

  static const char* word_for(Ending ending) {
    switch (ending) {
      case Ending::died: return "died";
      case Ending::timed_out: return "timed out";
      default: return "other";
    }
  }

  PlayedWorkers world_;
  Supervisor* supervisor_ = nullptr;
  std::uint32_t function_ = 0;
};

}  // namespace owngil::runtime

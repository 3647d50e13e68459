// SPDX-License-Identifier: BSD-3-Clause
// The worker's loop: receive, run, reply, until it is told to stop.
//
// Threads: one, the worker's own.
// Lifetime: borrows everything; of the channel it is the only user.
// Not: Python. Running a task is the TaskRunner's part: the executor's, or a test's.
#pragma once

#include "ipc/arena.hpp"
#include "ipc/channel.hpp"
#include "workers/memory_limit.hpp"
#include "workers/received_blobs.hpp"
#include "workers/reply.hpp"
#include "workers/result_memory.hpp"
#include "workers/task.hpp"

#include <cstdint>
#include <optional>

namespace owngil::workers {

class TaskRunner {
 public:
  virtual ~TaskRunner() = default;

  // Runs a task that has begun and makes its reply; what failed is in the reply, too.
  // Nothing of the task's may be left alive on return.
  virtual void run(const Task& task, const ReceivedBlobs& blobs, Reply& reply) = 0;

  // Whether what it just ran, for so long, may have printed or logged something.
  [[nodiscard]] virtual bool has_printed(std::uint64_t run_ns) = 0;

  // The blob with this number is gone, and so should be what came out of it.
  virtual void forget(std::uint32_t number) = 0;

  // Around a sleep, which may be long. False: leave the loop.
  virtual void before_sleep() = 0;
  [[nodiscard]] virtual bool after_sleep() = 0;
};

enum class LoopEnd {
  stopped,             // as it was told
  initializer_failed,  // the reply to `initialize` says how
  over_memory,         // its last reply said so; what it had not claimed is the supervisor's again
  interrupted,         // the runner wanted to leave while there was nothing to do
  cut_off,             // its bells are gone: nobody would hear of its answers
};

class WorkerLoop {
 public:
  WorkerLoop(ipc::WorkerEnd& channel, const ipc::ArenaView& arguments, ipc::Arena& results,
             TaskRunner& runner, MemoryLimit limit = MemoryLimit(0))
      : channel_(channel),
        arguments_(arguments),
        memory_(results, channel),
        runner_(runner),
        limit_(limit) {}

  // Says `ready`, works, says `leaving`.
  LoopEnd run(std::uint32_t pid);

 private:
  enum class Next { go_on, stop, initializer_failed, over_memory, cut_off };

  [[nodiscard]] LoopEnd work();
  [[nodiscard]] std::optional<LoopEnd> wait();  // nothing: go on
  [[nodiscard]] Next receive(const ipc::TaskSlot& slot);
  [[nodiscard]] Next execute(const ipc::TaskSlot& slot);
  [[nodiscard]] std::span<const std::byte> payload(const ipc::TaskSlot& slot) const;

  // immutable after construction
  ipc::WorkerEnd& channel_;
  const ipc::ArenaView& arguments_;
  ResultMemory memory_;
  TaskRunner& runner_;
  // the loop's
  MemoryLimit limit_;
  ReceivedBlobs blobs_;
  bool has_given_back_ = false;  // the memory that it has no use for, since its last task
  std::uint64_t now_ns_ = 0;     // when the task before ended; 0: time has passed since
};

}  // namespace owngil::workers

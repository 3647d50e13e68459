// SPDX-License-Identifier: BSD-3-Clause
// Stops a task that runs, once the user's process has ordered it: by an exception, the way Ctrl-C
// stops a program.
//
// The order stands in the channel; a signal makes the interpreter look at it. That raises
// owngil.TaskCancelled in the task, and again at each further signal if the task has swallowed it.
// A worker that is its process gets the signal itself: Python runs the handlers of signals between
// two instructions of its main thread, or when what blocks there was interrupted. Other interpreters
// get none: their host takes it, and leaves each of them a call that it makes between two
// instructions.
// Threads: the worker's own, with the GIL; is_cancelled() any; call_those_told_to_stop() any that
//   has no GIL.
// Lifetime: the worker's; borrows the channel.
// Not: patient. Who never lets the exception through is killed by the supervisor.
// Invariants:
//   N1  It raises only between arm() and disarm(), so never in what is not the task's: decoding,
//       encoding, the next task.
//   N2  It raises neither in a `__del__`, where it would be lost, nor while what it raised before
//       is being handled, so that `finally` and `with` come to their end.
#pragma once

#include "ipc/channel.hpp"
#include "workers/python.hpp"

#include <atomic>
#include <cstdint>

namespace owngil::workers {

class Interruption {
 public:
  explicit Interruption(const ipc::WorkerEnd& channel) noexcept : channel_(channel) {}
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;
  ~Interruption() = default;

  // Around execute. disarm() lets go of what was raised.
  void arm(std::uint64_t task) noexcept {
    task_.store(task, std::memory_order_relaxed);  // relaxed: read by this thread, or as a hint
  }
  void disarm() noexcept {
    task_.store(kNone, std::memory_order_relaxed);  // as in arm
    if (raised_) raised_.reset();
  }

  // Whether the task that runs is to stop.
  [[nodiscard]] bool is_cancelled() const noexcept {
    const std::uint64_t task = task_.load(std::memory_order_relaxed);  // as in arm
    return task != kNone && channel_.is_stop_ordered(task);
  }

  // What the signal makes the interpreter do; `frame` is what it has interrupted, or None.
  // False: the exception is set.
  [[nodiscard]] bool on_signal(PyObject* frame) noexcept;

  // For as long as it lives, call_those_told_to_stop() reaches the worker whose own thread makes it.
  class Reachable {
   public:
    explicit Reachable(Interruption& interruption);
    Reachable(const Reachable&) = delete;
    Reachable& operator=(const Reachable&) = delete;
    ~Reachable();
  };

  // In a host: has on_signal() called in every worker of this process whose task is to stop.
  static void call_those_told_to_stop() noexcept;

 private:
  static constexpr std::uint64_t kNone = 0;  // no task has this id

  [[nodiscard]] bool is_being_handled() const noexcept;

  const ipc::WorkerEnd& channel_;
  std::atomic<std::uint64_t> task_{kNone};
  Ref raised_;
};

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
// Stops a task that runs, once the user's process has ordered it: by an exception, the way Ctrl-C
// stops a program.
//
// The order stands in the channel; a signal makes the interpreter look at it. That raises
// owngil.TaskCancelled in the task, and again at each further signal if the task has swallowed it.
// A worker that is its process gets the signal itself: Python runs the handlers of signals between
// two instructions of its main thread, or when what blocks there was interrupted. Other interpreters
// get none: their host takes it (host_interruption.hpp).
// Threads: the worker's own, with the GIL; leave_for() another one that has it; is_cancelled() any.
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
    if (is_left_) take_back();
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

  // Leaves the exception for the worker's thread, which raises it where a call looks for signals.
  // The caller has on_signal() called there before the next instruction, which takes it back: an
  // instruction may be one of a `__del__`. False: it may not be raised where the thread is.
  [[nodiscard]] bool leave_for(PyThreadState* thread) noexcept;

 private:
  static constexpr std::uint64_t kNone = 0;  // no task has this id

  [[nodiscard]] bool may_raise(PyThreadState* thread, PyObject* frame) const noexcept;
  [[nodiscard]] bool is_being_handled(PyThreadState* thread) const noexcept;
  void take_back() noexcept;

  const ipc::WorkerEnd& channel_;
  std::atomic<std::uint64_t> task_{kNone};
  // guarded by the GIL
  Ref raised_;  // the type of what has been, or was left, since arm()
  bool is_left_ = false;
};

}  // namespace owngil::workers

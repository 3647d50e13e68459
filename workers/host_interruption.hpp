// SPDX-License-Identifier: BSD-3-Clause
// How a host stops the tasks of its interpreters, which get no signals: interruption.hpp decides
// whether, this reaches them.
//
// The host leaves each interpreter a call that it makes between two instructions. What blocks in C
// makes no call. Where CPython can do it (`wakes`, 3.15), a thread of the host's takes the GIL that
// the blocked one has given up, leaves the exception for it, and wakes it with a signal: there `sleep`,
// `read` and `select` raise it, but nothing that waits for a lock.
// Threads: a ReachableWorker is its worker's own, with the GIL; interrupt_told_workers() takes any
//   without one.
// Processes: in a worker that is its process nobody calls interrupt_told_workers().
// Lifetime: the worker's; its end waits for the thread that would wake it.
// Invariants:
//   H1  The exception is left only together with the call, with the GIL held, so that the thread
//       makes the call first wherever it would come to another instruction.
#pragma once

#include "workers/interruption.hpp"

#include <pthread.h>

#include <atomic>
#include <thread>

namespace owngil::workers {

// For as long as it lives, interrupt_told_workers() reaches the worker whose thread makes it.
class ReachableWorker {
 public:
  explicit ReachableWorker(Interruption& interruption);
  ReachableWorker(const ReachableWorker&) = delete;
  ReachableWorker& operator=(const ReachableWorker&) = delete;
  ~ReachableWorker();

 private:
  friend void interrupt_told_workers(bool wakes) noexcept;

  void leave_call() const noexcept;
  void wake() noexcept;
  void wake_with_gil() noexcept;

  Interruption& interruption_;
  PyThreadState* const state_;
  PyInterpreterState* const interpreter_;
  const pthread_t thread_;
  std::atomic<bool> is_waking_{false};  // false again: `waker_` touches nothing more
  std::thread waker_;                   // guarded by the mutex of all, then of the destructor
};

// Has Interruption::on_signal() called in every worker of this process whose task is to stop.
void interrupt_told_workers(bool wakes) noexcept;

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
#include "workers/host_interruption.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <csignal>
#include <mutex>
#include <system_error>
#include <vector>

namespace owngil::workers {
namespace {

// Of the worker whose own thread this is. Only there may anything be raised: the interpreter makes
// a call that was left to it in whichever of its threads comes by first, also when the task that it
// was meant for has ended, or the worker.
thread_local Interruption* of_this_thread = nullptr;

// The workers of this process.
struct {
  std::mutex mutex;
  std::vector<ReachableWorker*> all;  // guarded by the mutex
} reachable;

// Private to CPython, exported since 3.12; the public call goes to the main interpreter alone.
using AddPendingCall = int (*)(PyInterpreterState*, int (*)(void*), void*, int);

AddPendingCall add_pending_call() noexcept {
  static const auto found =
      reinterpret_cast<AddPendingCall>(::dlsym(RTLD_DEFAULT, "_PyEval_AddPendingCall"));
  return found;
}

int raise_if_told(void*) noexcept {
  if (of_this_thread == nullptr) return 0;
  auto* const frame = reinterpret_cast<PyObject*>(PyEval_GetFrame());
  return of_this_thread->on_signal(frame != nullptr ? frame : Py_None) ? 0 : -1;
}

// Goes to one thread, and ends the system call that it is in. Not ipc::interrupt_signal(), which the
// workers' threads block so that their host's first one gets it.
int wake_signal() noexcept { return SIGRTMAX - 4; }

void let_signal_wake() noexcept {
  struct sigaction nothing{};
  nothing.sa_handler = [](int) {};
  ::sigaction(wake_signal(), &nothing, nullptr);
}

}  // namespace

ReachableWorker::ReachableWorker(Interruption& interruption)
    : interruption_(interruption),
      state_(PyThreadState_Get()),
      interpreter_(PyThreadState_GetInterpreter(state_)),
      thread_(::pthread_self()) {
  of_this_thread = &interruption;
  const std::lock_guard lock(reachable.mutex);
  reachable.all.push_back(this);
}

ReachableWorker::~ReachableWorker() {
  of_this_thread = nullptr;
  {
    const std::lock_guard lock(reachable.mutex);
    std::erase(reachable.all, this);
  }
  if (!waker_.joinable()) return;
  Py_BEGIN_ALLOW_THREADS  // it may wait for this GIL
      waker_.join();
  Py_END_ALLOW_THREADS
}

void ReachableWorker::leave_call() const noexcept {
  static_cast<void>(add_pending_call()(interpreter_, raise_if_told, nullptr, 0));
}

// Who has the GIL meanwhile may keep it for long, so a thread of its own waits for it.
void ReachableWorker::wake() noexcept {
  if (is_waking_.load(std::memory_order_acquire)) return;  // pairs with the store at its end
  if (waker_.joinable()) waker_.join();
  is_waking_.store(true, std::memory_order_relaxed);  // relaxed: the thread begins after it
  try {
    waker_ = std::thread([this] {
      wake_with_gil();
      is_waking_.store(false, std::memory_order_release);  // pairs with the load above
    });
  } catch (const std::system_error&) {
    is_waking_.store(false, std::memory_order_relaxed);  // the next signal tries again
  }
}

void ReachableWorker::wake_with_gil() noexcept {
  PyThreadState* const mine = PyThreadState_New(interpreter_);
  if (mine == nullptr) return;
  PyEval_AcquireThread(mine);
  if (interruption_.leave_for(state_)) {
    leave_call();
    let_signal_wake();
    ::pthread_kill(thread_, wake_signal());
  }
  PyThreadState_Clear(mine);
  PyThreadState_DeleteCurrent();
}

void interrupt_told_workers(bool wakes) noexcept {
  if (add_pending_call() == nullptr) return;
  const std::lock_guard lock(reachable.mutex);
  for (ReachableWorker* const worker : reachable.all) {
    if (!worker->interruption_.is_cancelled()) continue;
    worker->leave_call();
    if (wakes) worker->wake();
  }
}

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
#include "workers/interruption.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <mutex>
#include <vector>

namespace owngil::workers {
namespace {

// Of the worker whose own thread this is. Only there may anything be raised: the interpreter makes
// a call that was left to it in whichever of its threads comes by first, also when the task that it
// was meant for has ended, or the worker.
thread_local Interruption* of_this_thread = nullptr;

struct Reached {
  PyInterpreterState* interpreter;
  const Interruption* interruption;
};

// The workers of this process.
struct {
  std::mutex mutex;
  std::vector<Reached> all;  // guarded by the mutex
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

// Exceptions in a chain of contexts that are looked at; a longer one is somebody's loop.
constexpr int kLongestChain = 100;

bool is_in_finalizer(PyObject* frame) noexcept {
  if (!PyFrame_Check(frame)) return false;
  Ref at = Ref::borrow(frame);
  while (at) {
    auto* const present = reinterpret_cast<PyFrameObject*>(at.get());
    const Ref code = Ref::steal(reinterpret_cast<PyObject*>(PyFrame_GetCode(present)));
    PyObject* const name = reinterpret_cast<PyCodeObject*>(code.get())->co_name;
    if (PyUnicode_CompareWithASCIIString(name, "__del__") == 0) return true;
    at = Ref::steal(reinterpret_cast<PyObject*>(PyFrame_GetBack(present)));
  }
  return false;
}

Ref made_exception() noexcept {
  const Ref module = Ref::steal(PyImport_ImportModule("owngil._errors"));
  const Ref type =
      Ref::steal(module ? PyObject_GetAttrString(module.get(), "TaskCancelled") : nullptr);
  return Ref::steal(type ? PyObject_CallNoArgs(type.get()) : nullptr);
}

}  // namespace

Interruption::Reachable::Reachable(Interruption& interruption) {
  of_this_thread = &interruption;
  const std::lock_guard lock(reachable.mutex);
  reachable.all.push_back({PyInterpreterState_Get(), &interruption});
}

Interruption::Reachable::~Reachable() {
  const Interruption* const mine = of_this_thread;
  of_this_thread = nullptr;
  const std::lock_guard lock(reachable.mutex);
  std::erase_if(reachable.all, [mine](const Reached& one) { return one.interruption == mine; });
}

void Interruption::call_those_told_to_stop() noexcept {
  if (add_pending_call() == nullptr) return;
  const std::lock_guard lock(reachable.mutex);
  for (const Reached& one : reachable.all) {
    if (!one.interruption->is_cancelled()) continue;
    static_cast<void>(add_pending_call()(one.interpreter, raise_if_told, nullptr, 0));
  }
}

bool Interruption::on_signal(PyObject* frame) noexcept {
  if (!is_cancelled() || is_being_handled() || is_in_finalizer(frame)) return true;
  Ref made = made_exception();
  if (made) {
    raised_.reset(Py_NewRef(made.get()));
    PyErr_SetRaisedException(made.release());
  }
  return false;
}

// A `finally` or `except` block, or an `__exit__`, that runs because of what was raised handles
// it, and whatever is raised there has it in its chain of contexts.
bool Interruption::is_being_handled() const noexcept {
  if (!raised_) return false;
  Ref handled = Ref::steal(PyErr_GetHandledException());
  for (int i = 0; handled && i < kLongestChain; ++i) {
    if (handled.get() == raised_.get()) return true;
    handled = Ref::steal(PyException_GetContext(handled.get()));
  }
  return false;
}

}  // namespace owngil::workers

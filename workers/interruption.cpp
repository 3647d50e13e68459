// SPDX-License-Identifier: BSD-3-Clause
#include "workers/interruption.hpp"

namespace owngil::workers {
namespace {

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

Ref exception_type() noexcept {
  const Ref module = Ref::steal(PyImport_ImportModule("owngil._errors"));
  return Ref::steal(module ? PyObject_GetAttrString(module.get(), "TaskCancelled") : nullptr);
}

// PyErr_GetHandledException, of any thread.
Ref handled_in(const PyThreadState* thread) noexcept {
  const _PyErr_StackItem* at = thread->exc_info;
  const auto is_empty = [&] { return at->exc_value == nullptr || at->exc_value == Py_None; };
  while (is_empty() && at->previous_item != nullptr) at = at->previous_item;
  return is_empty() ? Ref() : Ref::borrow(at->exc_value);
}

}  // namespace

bool Interruption::on_signal(PyObject* frame) noexcept {
  if (is_left_) take_back();
  if (!may_raise(PyThreadState_Get(), frame)) return true;
  const Ref type = exception_type();
  if (type) {
    raised_.reset(Py_NewRef(type.get()));
    PyErr_SetNone(type.get());
  }
  return false;
}

bool Interruption::leave_for(PyThreadState* thread) noexcept {
  const Ref type = exception_type();
  if (!type) PyErr_Clear();
  if (!type) return false;
  // From here on no Python runs that would let the thread go on.
  const Ref frame = Ref::steal(reinterpret_cast<PyObject*>(PyThreadState_GetFrame(thread)));
  if (!may_raise(thread, frame ? frame.get() : Py_None)) return false;
  raised_.reset(Py_NewRef(type.get()));
  is_left_ = true;
  PyThreadState_SetAsyncExc(thread->thread_id, type.get());
  return true;
}

void Interruption::take_back() noexcept {
  is_left_ = false;
  PyThreadState_SetAsyncExc(PyThreadState_Get()->thread_id, nullptr);
}

bool Interruption::may_raise(PyThreadState* thread, PyObject* frame) const noexcept {
  return is_cancelled() && !is_being_handled(thread) && !is_in_finalizer(frame);
}

// A `finally` or `except` block, or an `__exit__`, that runs because of what was raised handles
// it, and whatever is raised there has it in its chain of contexts.
bool Interruption::is_being_handled(PyThreadState* thread) const noexcept {
  if (!raised_) return false;
  Ref handled = handled_in(thread);
  for (int i = 0; handled && i < kLongestChain; ++i) {
    if (reinterpret_cast<PyObject*>(Py_TYPE(handled.get())) == raised_.get()) return true;
    handled = Ref::steal(PyException_GetContext(handled.get()));
  }
  return false;
}

}  // namespace owngil::workers

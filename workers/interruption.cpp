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

Ref made_exception() noexcept {
  const Ref module = Ref::steal(PyImport_ImportModule("owngil._errors"));
  const Ref type =
      Ref::steal(module ? PyObject_GetAttrString(module.get(), "TaskCancelled") : nullptr);
  return Ref::steal(type ? PyObject_CallNoArgs(type.get()) : nullptr);
}

}  // namespace

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

// SPDX-License-Identifier: BSD-3-Clause
// The one include of Python.h, and an owner for one reference.
//
// Threads: everything here needs the GIL, destructors included.
// Lifetime: a Ref owns one strong reference, or none.
// Not: a binding library. The C API is called as it is.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <utility>

namespace owngil::workers {

class Ref {
 public:
  Ref() noexcept = default;
  Ref(const Ref&) = delete;
  Ref& operator=(const Ref&) = delete;
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref&& other) noexcept {
    reset(std::exchange(other.object_, nullptr));
    return *this;
  }
  ~Ref() { Py_XDECREF(object_); }

  [[nodiscard]] static Ref steal(PyObject* owned) noexcept { return Ref(owned); }
  [[nodiscard]] static Ref borrow(PyObject* borrowed) noexcept { return Ref(Py_XNewRef(borrowed)); }

  [[nodiscard]] PyObject* get() const noexcept { return object_; }
  [[nodiscard]] PyObject* release() noexcept { return std::exchange(object_, nullptr); }
  explicit operator bool() const noexcept { return object_ != nullptr; }

  // The old object is let go last: its destructor may run Python code that looks here.
  void reset(PyObject* owned = nullptr) noexcept {
    PyObject* old = std::exchange(object_, owned);
    Py_XDECREF(old);
  }

 private:
  explicit Ref(PyObject* owned) noexcept : object_(owned) {}

  PyObject* object_ = nullptr;
};

}  // namespace owngil::workers

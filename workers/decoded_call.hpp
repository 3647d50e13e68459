// SPDX-License-Identifier: BSD-3-Clause
// The arguments of one call, laid out as PyObject_Vectorcall wants them.
//
// Threads: needs the GIL, its destructor included.
// Lifetime: owns a reference to every argument and to the names until clear().
// Not: a decoder; decode_call (codec.hpp) fills it in, and so may whoever holds a tuple.
#pragma once

#include "workers/python.hpp"

#include <array>
#include <cstddef>

namespace owngil::workers {

class DecodedCall {
 public:
  static constexpr std::size_t kInlineArguments = 14;

  DecodedCall() noexcept = default;
  DecodedCall(const DecodedCall&) = delete;
  DecodedCall& operator=(const DecodedCall&) = delete;
  ~DecodedCall() { clear(); }

  // Drops all references; the object can then be filled again.
  void clear() noexcept {
    for (std::size_t left = std::exchange(filled_, 0), i = 1; i <= left; ++i) Py_DECREF(slots_[i]);
    if (heap_ != nullptr) leave_heap();
    if (keyword_names_) keyword_names_.reset();
    positional_ = 0;
  }

  // Requires: cleared. Room for `count` arguments, if they are more than kInlineArguments; false:
  // MemoryError is set.
  [[nodiscard]] bool reserve(std::size_t count) noexcept;

  // Requires: reserve() made room for it. Positional arguments first, then the keywords' values.
  void push(PyObject* owned) noexcept { slots_[1 + filled_++] = owned; }
  void set_positional_count(std::size_t count) noexcept { positional_ = count; }
  void set_keyword_names(PyObject* owned_tuple) noexcept { keyword_names_.reset(owned_tuple); }

  // Takes over a call that came as (args, kwargs); `kwargs` may be nullptr or None.
  // False: an exception is set.
  [[nodiscard]] bool assign(PyObject* args_tuple, PyObject* kwargs_dict) noexcept;

  [[nodiscard]] PyObject* const* arguments() const noexcept { return slots_ + 1; }
  [[nodiscard]] std::size_t positional_count() const noexcept { return positional_; }
  [[nodiscard]] std::size_t size() const noexcept { return filled_; }
  [[nodiscard]] PyObject* keyword_names() const noexcept { return keyword_names_.get(); }

  // Calls; the slot before the arguments is the callee's to use (PY_VECTORCALL_ARGUMENTS_OFFSET).
  [[nodiscard]] PyObject* call(PyObject* function) const noexcept {
    return PyObject_Vectorcall(function, slots_ + 1, positional_ | PY_VECTORCALL_ARGUMENTS_OFFSET,
                               keyword_names_.get());
  }

 private:
  void leave_heap() noexcept;

  PyObject** slots_ = inline_.data();
  std::size_t filled_ = 0;
  std::size_t positional_ = 0;
  Ref keyword_names_;
  PyObject** heap_ = nullptr;
  std::array<PyObject*, kInlineArguments + 1> inline_;
};

}  // namespace owngil::workers

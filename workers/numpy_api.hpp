// SPDX-License-Identifier: BSD-3-Clause
// NumPy's arrays through its C interface, found at run time: nothing is built against NumPy.
//
// Threads: needs the GIL.
// Lifetime: what was found stays, as NumPy cannot be unloaded.
// Not: for all arrays. A plain one is of exactly NumPy's own type, its elements numbers of this
//   machine's kind (codec_format.hpp), in C order. The others pickle knows how to carry.
#pragma once

#include "workers/python.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace owngil::workers {

struct PlainArray {
  std::uint8_t element;               // NumPy's number of their type
  std::span<const Py_ssize_t> shape;  // the array's, as is the data
  const void* data;
  std::size_t size;  // bytes
  bool is_read_only;
};

// A table of functions by their numbers in it, which are the same in all versions that have them.
using NumpyTable = void* const*;
// nullptr, without an exception: NumPy is not loaded in this interpreter. Runs no user code.
[[nodiscard]] NumpyTable numpy_table() noexcept;
// Loads it, which runs its code. False: an exception is set, an ImportError if there is none.
[[nodiscard]] bool load_numpy() noexcept;

// Nothing: it is none. Runs no user code.
[[nodiscard]] std::optional<PlainArray> plain_array(PyObject* object) noexcept;

// A new array with memory of its own, not initialised; nullptr: an exception is set.
// Requires, as the next one: numpy_table() is there, and `element` is known to codec_format.hpp.
[[nodiscard]] PyObject* make_array(std::uint8_t element,
                                   std::span<const Py_ssize_t> shape) noexcept;
// The same over memory that `base` keeps.
[[nodiscard]] PyObject* make_array_over(std::uint8_t element, std::span<const Py_ssize_t> shape,
                                        void* data, Ref base) noexcept;
// Of an array that was made so.
[[nodiscard]] void* array_data(PyObject* array) noexcept;
void make_read_only(PyObject* array) noexcept;

}  // namespace owngil::workers

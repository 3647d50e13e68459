// SPDX-License-Identifier: BSD-3-Clause
// Takes the large buffers out of a pickle while that is made.
//
// Called with a PickleBuffer (pickle's `buffer_callback`) it keeps what is large and contiguous and
// lets the rest go in-band. `persistent_id` does the same for what pickle itself would copy: bytes,
// bytearray, memoryview and array.array. It costs a call for every object, so the pickler is given
// it only if `has_direct(value)` says that there is something near the top to be had by it.
// Threads: needs the GIL.
// Lifetime: keeps what it has collected, unchanged in size, until it is cleared or goes.
// Not: a pickler; owngil._pickling and owngil._direct drive it.
#pragma once

#include "workers/python.hpp"

#include <cstddef>
#include <vector>

namespace owngil::workers {

struct CollectedBuffers {
  std::vector<Py_buffer> views;
  std::vector<PyObject*> direct;  // what persistent_id has taken, by number; owned

  ~CollectedBuffers() { clear(); }
  void clear() noexcept;
};

[[nodiscard]] PyTypeObject* make_collector_type(PyObject* module) noexcept;
// None: an exception is set.
[[nodiscard]] Ref make_collector(PyTypeObject* type) noexcept;
// Requires: it is a collector.
[[nodiscard]] CollectedBuffers& collected(PyObject* collector) noexcept;

}  // namespace owngil::workers

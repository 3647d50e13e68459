// SPDX-License-Identifier: BSD-3-Clause
// What a user shares with tasks: its large buffers, put into shared memory once, or made there.
//
// Threads: needs the GIL.
// Lifetime: a buffer stays as long as what is returned for it, or a task that names it.
// Not: the object; owngil._shared has its pickle.
#pragma once

#include "python/binding/module_state.hpp"

#include <cstddef>

namespace owngil::binding {

// `arena_size`: address space, if this is the first who asks for shared memory.

// share_value(value, arena_size): pickles it; -> (pickle, whether owngil._direct is needed, [SharedBuffer, ...]), or nullptr
// with an exception set.
PyObject* share_value(PyObject* module, PyObject* const* args, Py_ssize_t nargs);

// make_shared(size, zeroed, arena_size) -> a writable memoryview over shared memory
PyObject* make_shared(PyObject* module, PyObject* const* args, Py_ssize_t nargs);

// What a SharedBuffer stands for; nullptr: it is none, or its parent process's.
runtime::SharedBlock* shared_block(const ModuleState& state, PyObject* object);

bool add_shared_buffer_type(PyObject* module, ModuleState& state);

}  // namespace owngil::binding

// SPDX-License-Identifier: BSD-3-Clause
// What a user shares with the tasks of a pool: its large buffers, put into the arena once.
//
// Threads: needs the GIL.
// Lifetime: a buffer stays as long as what is returned for it, or a task that names it.
// Not: the object; owngil._shared has its pickle.
#pragma once

#include "python/binding/module_state.hpp"

namespace owngil::binding {

// Pickles `value`; -> (pickle, whether owngil._direct is needed, [read-only memoryview, ...]), or
// nullptr with an exception set.
PyObject* share_value(ModuleState& state, runtime::Supervisor& supervisor, PyObject* value);

}  // namespace owngil::binding

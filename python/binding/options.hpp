// SPDX-License-Identifier: BSD-3-Clause
// The C half of what Pool.options() returns: a pool, and the terms on which it is to run calls.
//
// Threads: needs the GIL.
// Lifetime: holds the pool and the number of its judge's blob.
// Not: words and defaults; owngil._options has them.
#pragma once

#include "python/binding/module_state.hpp"

namespace owngil::binding {

bool add_options_type(PyObject* module, ModuleState& state);

}  // namespace owngil::binding

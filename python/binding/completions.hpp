// SPDX-License-Identifier: BSD-3-Clause
// Makes the object on which a pool's dispatcher thread waits.
#pragma once

#include "python/binding/module_state.hpp"

namespace owngil::binding {

// A new reference, or nullptr.
PyObject* make_completions(const ModuleState& state, runtime::Supervisor& supervisor);

}  // namespace owngil::binding

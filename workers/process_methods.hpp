// SPDX-License-Identifier: BSD-3-Clause
// What owngil._template calls of _core.
#pragma once

#include "workers/python.hpp"

namespace owngil::workers {

// For PyModule_AddFunctions; ends with an empty entry.
[[nodiscard]] PyMethodDef* process_methods() noexcept;

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
// What owngil._template calls of _core.
#pragma once

#include "workers/python.hpp"

namespace owngil::workers {

// False: an exception is set.
[[nodiscard]] bool add_process_methods(PyObject* module) noexcept;

}  // namespace owngil::workers

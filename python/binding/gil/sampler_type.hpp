// SPDX-License-Identifier: BSD-3-Clause
// The Python type _gil.Sampler: a Sampler of the GIL of the interpreter that makes it.
#pragma once

#include <Python.h>

namespace owngil::gil {

// Adds the type to the module; returns -1 with an exception set if that fails.
int add_sampler_type(PyObject* module);

}  // namespace owngil::gil

// SPDX-License-Identifier: BSD-3-Clause
// How pools end: when they are told to, when `with` is left, when the interpreter exits.
//
// Threads: need the GIL, and give it up while they wait.
// Not: in the child of a fork(), where a pool is closed already; there they do nothing.
#pragma once

#include "workers/python.hpp"

namespace owngil::binding {

// Methods of PoolBase.
PyObject* shutdown_pool(PyObject* pool, PyObject* cancel);
PyObject* end_workers(PyObject* pool, PyObject* signal_number);
PyObject* wait_ended(PyObject* pool, PyObject* timeout);
PyObject* exit_pool(PyObject* pool, PyObject* const* args, Py_ssize_t nargs);

// Functions of the module, for the interpreter's exit.
PyMethodDef* ending_methods() noexcept;

}  // namespace owngil::binding

// SPDX-License-Identifier: BSD-3-Clause
// What one import of _core holds: its types, and the runtime of this process.
//
// Threads: needs the GIL.
// Lifetime: the module's. Types reach it through their module; there is no global PyObject.
// Not: shared between interpreters; each import has its own.
#pragma once

#include "runtime/runtime.hpp"
#include "runtime/shared_memory.hpp"
#include "workers/interpreter_state.hpp"
#include "workers/python.hpp"
#include "workers/short_strings.hpp"

#include <cstddef>
#include <cstdint>

namespace owngil::binding {

struct ModuleState {
  workers::InterpreterState worker;  // first: workers/ knows no more of it
  PyTypeObject* pool_type;
  PyTypeObject* future_base_type;
  PyTypeObject* map_iterator_type;
  PyTypeObject* completions_type;
  PyTypeObject* shared_buffer_type;
  PyTypeObject* future_type;       // owngil.Future, once owngil._future has said so
  PyObject* pickle_loads;          // _pickle.loads, once something was pickled
  PyObject* dump_arguments;        // owngil._pickling.dump_arguments, likewise
  PyObject* show_output;           // owngil._output.show, once a worker has printed
  workers::ShortStrings* strings;  // for decoding
  runtime::Runtime* runtime;       // made with the first pool
  runtime::SharedMemory* shared;   // made with the first who shares; never freed
  std::uint32_t generation;        // forks between the first import and this process
};

static_assert(offsetof(ModuleState, worker) == 0);

extern PyModuleDef module_definition;

// Requires: `type` or one of its bases was made by this module. nullptr: an exception is set.
ModuleState* state_of(PyTypeObject* type);

// The function `name` of the module owngil.`module`, a new reference, or nullptr.
PyObject* package_function(const char* module, const char* name);

// Whether an object of that generation is of this process. One that is not belongs to an ancestor
// in whose memory a lock may be held for ever: nothing of its supervisor's may be touched.
inline bool is_ours(const ModuleState* state, std::uint32_t generation) {
  return state != nullptr && state->generation == generation;
}

// Raises what is_ours() found, if nothing is raised already; returns false.
bool raise_not_ours(const ModuleState* state);
inline bool check_ours(const ModuleState* state, std::uint32_t generation) {
  return is_ours(state, generation) || raise_not_ours(state);
}

// Warns of what the runtime has to tell the user. False: the warning was made an exception.
bool give_notes(const ModuleState& state);

// Raises what admission says; returns nullptr.
PyObject* raise_admission(runtime::Supervisor& supervisor, runtime::Admission admission,
                          std::size_t size);

// The exception that a broken pool fails its tasks with, a new reference, or nullptr.
PyObject* broken_exception(runtime::Supervisor& supervisor);

// Each adds its type or functions to the module. False: an exception is set.
bool add_pool_type(PyObject* module, ModuleState& state);
bool add_future_type(PyObject* module, ModuleState& state);
bool add_map_iterator_type(PyObject* module, ModuleState& state);
bool add_completions_type(PyObject* module, ModuleState& state);

}  // namespace owngil::binding

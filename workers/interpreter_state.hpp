// SPDX-License-Identifier: BSD-3-Clause
// What `_core` keeps for the worker that its interpreter is.
//
// Threads: needs the GIL.
// Lifetime: the module's state begins with it (python/binding/module_state.hpp), so that workers/
//   reaches it from the module alone.
#pragma once

#include "workers/forwarded_output.hpp"
#include "workers/python.hpp"
#include "workers/refusal.hpp"
#include "workers/worker_note.hpp"

#include <cstdint>

namespace owngil::workers {

class ArgumentMemory;
class Interruption;

// Borrowed from whoever runs it. No function: no task runs.
struct RunningTask {
  std::uint64_t id;
  PyObject* function;
};

struct InterpreterState {
  Interruption* interruption;  // nullptr: this interpreter is no worker
  ForwardedOutput output;
  RunningTask running;
  bool may_refuse;               // what cannot run here is to run elsewhere
  Refusal refusal;               // only if it may
  ArgumentMemory* arguments;     // nullptr: this interpreter is no worker
  NoteSocket notes;              // to the user
  PyTypeObject* buffer_type;     // workers/buffer_object.hpp
  PyTypeObject* collector_type;  // workers/buffer_collector.hpp
};

// Requires: `module` is `_core`.
inline InterpreterState& interpreter_state(PyObject* module) noexcept {
  return *static_cast<InterpreterState*>(PyModule_GetState(module));
}

}  // namespace owngil::workers

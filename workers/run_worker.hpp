// SPDX-License-Identifier: BSD-3-Clause
// Where a worker's interpreter gives its thread to C++: maps the memory, says ready, runs tasks.
//
// Threads: the interpreter's main thread, with the GIL, which is held again on return.
// Lifetime: takes over the descriptors and closes them; the memory is unmapped on return.
// Not: the process. What comes before (lifeline, pidfd) and after (atexit) is its caller's.
#pragma once

#include "workers/interpreter_state.hpp"

namespace owngil::workers {

// Descriptors, as runtime/process_host.hpp sent them.
struct WorkerMemory {
  int channel;
  int results;
  int arguments;
  int board;
  int caller_bell;
  int control_bell;
};

inline constexpr int kExitInOrder = 0;

// Returns the exit code of the worker, or -1 with a Python exception set if it could not start.
// A failed initializer is an exit in order: the reply has told it. Never throws. `state` tells
// what it runs for as long as it runs.
[[nodiscard]] int run_worker(InterpreterState& state, const WorkerMemory& memory) noexcept;

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
// What owngil._output reads workers' output through, and how a result waits for it.
//
// Threads: needs the GIL.
// Not: the writing; owngil._output does that, on its thread or on that of whoever asks for a result.
#pragma once

#include "python/binding/module_state.hpp"

namespace owngil::binding {

// Shows what the worker of this task printed, before its outcome is. False: an exception is set,
// which a signal's handler has raised.
bool show_output_of(ModuleState& state, std::uint64_t worker);

// Requires: the task is complete. Costs next to nothing if nothing was printed.
inline bool show_output(ModuleState& state, const runtime::Task& task) {
  if (state.runtime == nullptr) return true;  // a child of the user's fork()
  const bool has_text = task.printed || state.runtime->output().is_text_held();
  return !has_text || task.answered_by == 0 || show_output_of(state, task.answered_by);
}

bool add_output_methods(PyObject* module);

}  // namespace owngil::binding

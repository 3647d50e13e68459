// SPDX-License-Identifier: BSD-3-Clause
// The worker's Python half, owngil._worker, as C++ calls it.
//
// Threads: needs the GIL, its destructor included. One for each interpreter.
// Lifetime: owns its references; the interpreter outlives it.
// Not: an interpreter of what it passes on. All methods that can fail set a Python exception.
#pragma once

#include "workers/python.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace owngil::workers {

class WorkerModule {
 public:
  // Nothing: an exception is set.
  // `may_refuse`: the loading of functions finds out what cannot run here.
  [[nodiscard]] static std::optional<WorkerModule> import(bool may_refuse) noexcept;

  // Unpickles a call. The module for that is brought in by the first call that needs it.
  [[nodiscard]] Ref load_call(std::span<const std::byte> pickle) noexcept;
  // The same of one whose large buffers went beside it, in a list. `direct`: owngil._direct is
  // needed.
  [[nodiscard]] Ref load_call(std::span<const std::byte> pickle, PyObject* buffers,
                              bool direct) noexcept;

  // What is raised becomes what a task fails with whose arguments do not load.
  void make_raised_undecodable() const noexcept;

  // -> (callable, prepare or None, reload)
  [[nodiscard]] Ref load_function(std::span<const std::byte> blob) const noexcept;
  [[nodiscard]] bool apply_context(std::span<const std::byte> blob) const noexcept;

  // -> bytes; what is large goes into the collector.
  [[nodiscard]] Ref dump_result(PyObject* value, PyObject* collector) const noexcept;
  // -> bytes; none, without an exception: there is no telling it.
  [[nodiscard]] Ref dump_exception(PyObject* exception) const noexcept;

  // Notes it if what was raised is a refusal. Requires: may_refuse, as the next one.
  void look_for_refusal(PyObject* exception) const noexcept;
  // What a task fails with that was refused something when it had begun; `raised` may be none.
  [[nodiscard]] Ref needs_process(std::string_view what, PyObject* raised) const noexcept;

  void log_initializer_failure(PyObject* exception) const noexcept;

  // Of a child that a task has forked and that has come back from it: see forked_child.hpp. It ends
  // as a program does, because of the exception that is set if one is.
  [[noreturn]] void end_forked_child(bool failed) const noexcept;

 private:
  WorkerModule() noexcept = default;

  [[nodiscard]] bool bring_in_pickle() noexcept;

  Ref loads_;  // none: not needed yet
  Ref load_direct_;
  Ref load_function_;
  Ref apply_context_;
  Ref undecodable_call_;
  Ref dump_result_;
  Ref dump_exception_;
  Ref log_initializer_failure_;
  Ref end_forked_child_;
  Ref look_for_refusal_;  // none: it may not refuse
  Ref needs_process_;
};

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
// The C half of owngil.Future: its state, its result, and the bridge to the standard library.
//
// Threads: needs the GIL.
// Lifetime: holds its task until it was decoded, and its supervisor until it is gone.
// Not: the whole future. What is rare (callbacks, set_result, repr) is inherited from
//   concurrent.futures.Future, which finds `_condition`, `_state`, `_waiters` here.
// Invariants:
//   F1  The first touch of `_condition` makes the future watched: the dispatcher is told when
//       it completes. From then on `_state` changes only under the condition.
//   F2  A watched future is referred to by the supervisor until the dispatcher has it.
#pragma once

#include "python/binding/module_state.hpp"

#include <cstdint>
#include <optional>

namespace owngil::binding {

// A pending future of that task, or nullptr; then the task is forgotten.
PyObject* make_future(ModuleState& state, runtime::Supervisor& supervisor, PyObject* dispatcher,
                      runtime::Task& task);

// future.cancel(running, grace), a new reference to whether it will end as cancelled, or nullptr.
// Without a grace: that of its policy. Requires: it is a FutureBase.
PyObject* cancel_future(PyObject* future, bool running, std::optional<std::uint64_t> grace_ns);

// A future that has failed before it began. Takes over `exception`.
PyObject* make_failed_future(ModuleState& state, PyObject* dispatcher, PyObject* exception);

}  // namespace owngil::binding

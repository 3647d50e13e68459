// SPDX-License-Identifier: BSD-3-Clause
// Tells a process that a task has forked from the worker that runs the task.
//
// A task may fork and return in both. The child has the worker's stack and goes on where the worker
// does, but is nobody's worker: the channel is not even mapped there (ipc::OnFork::exclude).
// Threads: any.
// Not: about vfork and clone, whose children cannot return from the task.
#pragma once

namespace owngil::workers {

// From now on, in this process and those that are forked from it. Not before there is a worker.
void watch_forks() noexcept;

[[nodiscard]] bool is_forked_child() noexcept;

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
// A host: a process whose workers are interpreters, one thread each.
//
// Its main interpreter does nothing any more: it has imported what extension modules the workers may
// need, because some break when two interpreters import them for the first time (CPython 3.13), and
// lends its GIL to those that begin.
// Threads: serve_interpreters() takes the process's first thread, without its GIL.
// Processes: the user's process asks for workers on `socket`, as it asks a template.
// Lifetime: until the last worker has ended and nobody is asked for; then the process has to end, for
//   its end is how the end of its last worker is told.
// Not: forked. Once it has an interpreter, a child of fork() would crash; os.fork refuses there.
#pragma once

#include <string>

namespace owngil::workers {

// `entry`: Python source that takes "(socket)" behind it, for each worker with that of its own; it
// leaves the worker's exit code in `code`. `alone`: interpreters begin and end one by one. `wakes`: see
// host_interruption.hpp. Requires the GIL. Returns the exit code of the process, or -1 with an
// exception set.
[[nodiscard]] int serve_interpreters(int socket, const std::string& entry, bool alone,
                                     bool wakes) noexcept;

}  // namespace owngil::workers

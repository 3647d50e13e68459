// SPDX-License-Identifier: BSD-3-Clause
// Starts a program that the user's process never hears of: wait() and SIGCHLD do not see it.
//
// Threads: any; the calling thread stands still until the program runs (well under 1 ms).
// Lifetime: the program belongs to init, or to the next subreaper above the user's process.
// Not: fork. The memory is shared until the program has replaced it, so no page is copied and no
//   handler of pthread_atfork runs.
#pragma once

#include <sys/types.h>

#include <span>

namespace owngil::runtime {

// Runs `path` with fds[0] as its descriptor 0, fds[1] as 1 and so on; others stay open if they
// were not to be closed on exec. No signal is blocked in it; SIGCHLD, SIGPIPE and SIGXFSZ have
// their default action, other signals are ignored if they are here.
// Throws std::system_error naming the call that failed.
pid_t spawn_detached(const char* path, char* const* argv, char* const* env,
                     std::span<const int> fds);

// In a child that shares its parent's memory (vfork): gives it the descriptors as above,
// starting at `first`, and the signals as above; then executes `path`. Returns errno.
// Requires: all signals are blocked; the child does not share the parent's descriptors.
int become(const char* path, char* const* argv, char* const* env, std::span<const int> fds,
           int first, bool ignore_interrupt) noexcept;

}  // namespace owngil::runtime

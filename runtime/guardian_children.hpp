// SPDX-License-Identifier: BSD-3-Clause
// What the guardian reads in /proc: its children, and whether a process stands still.
//
// Threads: the only one.
// Not: a snapshot. What is read may have ended since; but a child's number is no other's before
//   the guardian has reaped it.
#pragma once

#include <sys/types.h>

#include <vector>

namespace owngil::runtime {

// The children of this process, by the numbers that they have for it. They are not those of /proc
// where that shows an outer PID namespace, as after `unshare --pid --fork` without --mount-proc.
[[nodiscard]] std::vector<pid_t> children();

// Of the process that a pidfd stands for; 0: it cannot be told. Only /proc knows it by this number.
[[nodiscard]] pid_t number_in_proc(int pidfd);

// By job control or a debugger's SIGSTOP, not by its being traced.
[[nodiscard]] bool is_stopped(pid_t number_in_proc);

}  // namespace owngil::runtime

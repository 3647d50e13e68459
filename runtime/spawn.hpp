// SPDX-License-Identifier: BSD-3-Clause
// Starts a program, if so wished one that the user's process never hears of: neither wait() nor
// SIGCHLD see it.
//
// Threads: any; the calling thread stands still until the program runs (well under 1 ms).
// Lifetime: a detached program belongs to init, or to the next subreaper above this process.
// Not: fork. The memory is shared until the program has replaced it, so no page is copied and no
//   handler of pthread_atfork runs.
#pragma once

#include <sys/types.h>

#include <span>

namespace owngil::runtime {

// `path` finds fds[0] as its descriptor `first`, fds[1] as the next and so on; others stay open if
// they were not to be closed on exec. No signal is blocked in it. SIGCHLD, SIGPIPE and SIGXFSZ have
// their default action, other signals are ignored if they are here. What is started to stay in the
// background besides ignores an interrupt, and never stops because it writes to the terminal or
// reads from it. Both throw std::system_error naming the call that failed.
struct Program {
  const char* path;
  char* const* argv;
  char* const* env;
  std::span<const int> fds;
  int first = 0;
  bool in_background = false;
};

// A program that does not belong to this process.
pid_t spawn_detached(const Program& program);

// A child, for its parent to wait for, in a process group of its own that it does not lead.
pid_t spawn_child(const Program& program);

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// The template's half in C++: waits for a request and forks a worker, or a host of workers, which
// its grandparent, the guardian, inherits.
//
// Threads: the only one, with the GIL, which is given up while it waits.
// Processes: await_fork() is called in the template and returns in whatever it forks, too.
// Lifetime: the descriptors are those of ipc::StartFd, for as long as the template lives.
// Not: a judge of what may be forked; owngil._template is.
#pragma once

#include "workers/process_worker.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace owngil::workers {

enum class Awaited {
  fork,       // this process is new; the at-fork hooks of Python have run in it
  timeout,    // nobody has asked for a worker
  closed,     // nobody will: leave
  exception,  // a Python exception is set
};

// What a template's children become.
enum class Offspring { worker, host };

struct Forked {
  std::optional<Enlisted> worker;
  int host_socket = -1;  // a host enlists nobody; its interpreters do
};

// `own_lifeline` is the template's, from arm_lifeline(). `spawn_argv`: not empty if this process
// must not be forked; its children are then this program, started afresh. `timeout_ms` < 0: for ever.
[[nodiscard]] Awaited await_fork(int own_lifeline, Offspring offspring,
                                 const std::vector<std::string>& spawn_argv, int timeout_ms,
                                 Forked& forked);

// Tells the user something.
void send_note(std::string_view text) noexcept;

// Forks once, for nothing: libraries that end their threads before a fork have ended them then.
void fork_for_nothing() noexcept;

}  // namespace owngil::workers

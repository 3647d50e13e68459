// SPDX-License-Identifier: BSD-3-Clause
// How a process, or a thread of a host, becomes a worker: it ties its life to the user's process,
// takes what its pool gives it, and says that it has started, before anything of the user's runs.
//
// Processes: in the worker, forked or spawned; the other side is runtime/process_host.hpp.
// Threads: the only one; in a host, that of the new worker.
// Lifetime: the memory's descriptors go to run_worker(), those of the pool to owngil._worker.
// Not: Python. The interpreter may be in the middle of a fork.
#pragma once

#include "ipc/unique_fd.hpp"
#include "workers/run_worker.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace owngil::workers {

struct Enlisted {
  WorkerMemory memory;
  std::uint32_t rank;
  std::string pool_name;
  std::vector<int> pool_fds;
  int log;  // a socket to the user's process; -1: the output is not forwarded
  int out;  // where stdout and stderr of its interpreter lead
  int err;
};

enum class LifelineOf {
  process,
  group,  // what has left this process behind, but not its group, is killed, too
};

// The kernel kills this process, or its group, when the user's process is gone, however it went; at
// once if it is gone already. `lifeline` is the inherited reading end, which stays as it is; the
// result is this process's own, and lets the process live when it is closed.
// Throws std::system_error.
[[nodiscard]] ipc::UniqueFd arm_lifeline(int lifeline, LifelineOf whose);

// Both, for as long as this process lives: a task may have it leave its group.
void arm_lifelines(int lifeline);

enum class OutputOf {
  process,  // pipes to the user's process, or what they are there, become descriptors 1 and 2
  worker,   // they stay what they are; 1 and 2 were those of the first worker of this process
};

// `socket` is the worker's own; it has said `started` on return.
// Throws std::system_error or std::runtime_error; then nothing was said.
[[nodiscard]] Enlisted enlist(int socket, OutputOf output = OutputOf::process);

// There will be no worker.
void report_failure(int socket, std::string_view reason) noexcept;

}  // namespace owngil::workers

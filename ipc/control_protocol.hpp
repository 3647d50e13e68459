// SPDX-License-Identifier: BSD-3-Clause
// What the user's process, its guardian, its templates and new workers say to one another.
//
// Threads: plain values. Processes: each message is one datagram of a SEQPACKET socket pair, a
//   ControlHeader followed by `text_size` bytes, with descriptors beside it (fd_passing.hpp).
// Not: the channel. Once a worker has said `started`, its tasks and it never hear of sockets again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace owngil::ipc {

enum class Verb : std::uint32_t {
  none = 0,
  // the user's process to the guardian
  spawn = 1,  // descriptors: SpawnFd, then what the program finds as 3, 4, 5…
  end = 2,    // kill everything, then leave
  // the guardian to the user's process
  reaped = 3,        // pid, status, peak memory; key if it was started by `spawn`
  spawned = 4,       // key, pid
  spawn_failed = 5,  // key, text: why
  // the user's process to a template, or to a host of interpreters
  fork = 6,  // key; descriptor: the socket of the new worker, or of a new host
  // a template to the user's process; or a worker of a host, on its socket
  note = 7,  // text: a warning that the user should read
  // the user's process to a new worker, on the worker's socket, before there is a worker
  welcome = 8,  // key, status: WelcomeFlag, text: the pool's name; descriptors: WelcomeFd, then
                // the pool's own
  // a new worker to the user's process, on its socket: one of the two, or nothing at all
  started = 9,  // key, pid; descriptor: a pidfd of the worker
  failed = 10,  // key, text: why there is no worker
  // a host to the user's process, on the socket of a worker that it had; of its last one the end
  // of the process tells
  ended = 11,  // status as of wait(2): its interpreter is gone, and no thread of it is left
};

struct ControlHeader {
  Verb verb = Verb::none;
  std::int32_t pid = 0;
  std::uint64_t key = 0;
  std::uint64_t peak_rss_bytes = 0;
  std::int32_t status = 0;  // of `reaped`: as of wait(2); of `welcome`: WelcomeFlag
  std::uint32_t text_size = 0;
};
static_assert(sizeof(ControlHeader) == 32 && std::is_trivially_copyable_v<ControlHeader>);

enum WelcomeFlag : std::int32_t {
  // Its stdout, stderr and log lead to the user's process, which reads and shows them.
  kOutputForwarded = 1,
  kKillOrphans = 2,  // it is to mark itself (worker_mark.hpp)
};

inline constexpr std::size_t kControlTextBytes = 4096;

// The descriptors of `spawn`, in this order; those after them become 3, 4, 5…
enum SpawnFd : std::size_t { kSpawnCommand = 0, kSpawnStdout, kSpawnStderr, kSpawnFirstOwn };

// The descriptors that a program started by `spawn` finds.
enum StartFd : int {
  kStartSocket = 3,  // a template's or a host's requests; a worker's own socket
  kStartConfig,      // memfd with the bytes for owngil._template
  kStartLifeline,    // reading end of the pipe whose only writing end is the user's process's
};

// The descriptors of `welcome`, in this order.
enum WelcomeFd : std::size_t {
  kWelcomeStdout = 0,
  kWelcomeStderr,
  kWelcomeChannel,
  kWelcomeResults,
  kWelcomeArguments,
  kWelcomeBoard,
  kWelcomeCallerBell,
  kWelcomeControlBell,
  kWelcomeLog,  // where records of `logging` go; of use only if the output is forwarded
  kWelcomeFirstOwn,
};

inline constexpr std::size_t kMaxPassedFds = 200;

// How a worker of another build than the user's process ends. What it says in shared memory could
// be a scribble; together with its exit code it is believed.
inline constexpr int kExitMismatch = 3;

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
// The mark that a worker gives itself, and by that every process that it will ever start.
//
// It is a resource limit that the kernel has ignored since Linux 2.4.25 (RLIMIT_LOCKS), yet hands
// down through fork and exec. Environment, descriptors, session and parent can all be shed by a
// program that means no harm, a daemon for one; nobody sheds this.
// Threads: any. Processes: the worker marks itself; the guardian reads the marks of its children.
// Not: a protection. Whoever sets the limit for itself is no longer known to be the worker's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace owngil::ipc {

struct WorkerMark {
  std::uint64_t value;  // of the limit

  // No two workers of a user's process have the same, and each names its worker.
  [[nodiscard]] static WorkerMark of(std::uint64_t key, pid_t worker) noexcept;
  [[nodiscard]] pid_t worker() const noexcept;

  bool operator==(const WorkerMark&) const = default;
};

// False: a hard limit forbids it.
bool put_mark(WorkerMark mark) noexcept;
void take_mark_off() noexcept;

// Nothing: it has none, or is gone, or another user's. A process that was not reaped yet has its own.
[[nodiscard]] std::optional<WorkerMark> mark_on(pid_t process) noexcept;

}  // namespace owngil::ipc

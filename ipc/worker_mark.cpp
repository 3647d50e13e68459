// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/worker_mark.hpp"

#include <sys/resource.h>

namespace owngil::ipc {
namespace {

// From above: what tells a mark from a limit that somebody meant, the key, the pid. Linux has no
// pids beyond 22 bits; keys count launches.
constexpr std::uint64_t kPidBits = 22;
constexpr std::uint64_t kKeyBits = 34;
constexpr std::uint64_t kMarked = std::uint64_t{0x4F} << (kPidBits + kKeyBits);
constexpr std::uint64_t kBelow = (std::uint64_t{1} << (kPidBits + kKeyBits)) - 1;
constexpr std::uint64_t kPidMask = (std::uint64_t{1} << kPidBits) - 1;
constexpr std::uint64_t kKeyMask = (std::uint64_t{1} << kKeyBits) - 1;
static_assert(sizeof(rlim_t) == sizeof(std::uint64_t));

}  // namespace

WorkerMark WorkerMark::of(std::uint64_t key, pid_t worker) noexcept {
  return {kMarked | (key & kKeyMask) << kPidBits | (static_cast<std::uint64_t>(worker) & kPidMask)};
}

pid_t WorkerMark::worker() const noexcept { return static_cast<pid_t>(value & kPidMask); }

bool put_mark(WorkerMark mark) noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_LOCKS, &limit) != 0) return false;
  limit.rlim_cur = mark.value;
  return ::setrlimit(RLIMIT_LOCKS, &limit) == 0;
}

void take_mark_off() noexcept {
  rlimit limit{};
  if (!mark_on(0) || ::getrlimit(RLIMIT_LOCKS, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_LOCKS, &limit);
}

std::optional<WorkerMark> mark_on(pid_t process) noexcept {
  rlimit limit{};
  if (::prlimit(process, RLIMIT_LOCKS, nullptr, &limit) != 0) return std::nullopt;
  if ((limit.rlim_cur & ~kBelow) != kMarked) return std::nullopt;
  return WorkerMark{limit.rlim_cur};
}

}  // namespace owngil::ipc

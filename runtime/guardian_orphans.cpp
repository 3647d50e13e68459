// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/guardian_orphans.hpp"

#include "ipc/clock.hpp"
#include "runtime/guardian_children.hpp"

#include <algorithm>
#include <csignal>

namespace owngil::runtime {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kGraceNs = 200 * kMs;
// Between two passes over what is being killed: each turns grandchildren into children.
constexpr std::uint64_t kPassNs = 10 * kMs;

}  // namespace

void Orphans::left_by(ipc::WorkerMark worker) {
  estates_.push_back({worker, ipc::now_ns() + kGraceNs});
  look();
}

void Orphans::look() {
  if (estates_.empty()) return;
  const std::uint64_t now = ipc::now_ns();
  for (Estate& estate : estates_) estate.is_empty = true;
  for (const pid_t child : children()) {
    const auto mark = ipc::mark_on(child);
    if (!mark) continue;
    const auto estate = std::find_if(estates_.begin(), estates_.end(),
                                     [&mark](const Estate& one) { return one.mark == *mark; });
    if (estate == estates_.end()) continue;
    estate->is_empty = false;
    if (estate->grace_ends_ns <= now) ::kill(child, SIGKILL);
  }
  // Of one that has nobody left among the children nothing is left: whoever was below one of them
  // would have become the guardian's child by its death.
  std::erase_if(estates_, [](const Estate& estate) { return estate.is_empty; });
}

int Orphans::timeout_ms() const {
  if (estates_.empty()) return -1;
  const std::uint64_t now = ipc::now_ns();
  std::uint64_t next = now + kGraceNs;
  for (const Estate& estate : estates_) next = std::min(next, estate.grace_ends_ns);
  return static_cast<int>((std::max(next, now + kPassNs) - now) / kMs);
}

}  // namespace owngil::runtime

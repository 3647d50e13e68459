// SPDX-License-Identifier: BSD-3-Clause
// Gives back memory of an arena that nothing has used for a while: so that an hour of large
// arguments is not paid for until the pool ends, and what the next one needs stays warm.
//
// Threads: those of the arena's owner, one at a time. Processes: the owner's.
// Lifetime: shorter than the arena.
// Not: a timer. Whoever owns it calls look() at due_ns().
// Invariants:
//   M1  Of what was in use at any time since kUnusedNs before a look, and of kKept bytes more,
//       nothing is given back.
#pragma once

#include "ipc/arena.hpp"
#include "ipc/clock.hpp"
#include "ipc/futex.hpp"

#include <algorithm>
#include <cstdint>

namespace owngil::runtime {

class SpareMemory {
 public:
  // To have it again costs 0.7 ms a MiB: what is kept for good, and for how long the rest is.
  static constexpr std::uint64_t kKept = std::uint64_t{64} << 20;
  static constexpr std::uint64_t kUnusedNs = 2'000'000'000;
  // To give back costs 0.1 ms a MiB, during which the owner does nothing else: a part at a time.
  static constexpr std::uint64_t kStep = std::uint64_t{64} << 20;
  static constexpr std::uint64_t kPauseNs = 20'000'000;

  explicit SpareMemory(ipc::Arena& arena) noexcept : arena_(arena) {}

  void on_allocated() noexcept { most_ = std::max(most_, arena_.in_use()); }

  // True: there is a due_ns() where there was none.
  [[nodiscard]] bool on_freed() {
    if (due_ns_ != ipc::kForever || spare(arena_.in_use()) == 0) return false;
    due_ns_ = ipc::now_ns() + kUnusedNs;
    return true;
  }

  // kForever: nothing is spare.
  [[nodiscard]] std::uint64_t due_ns() const noexcept { return due_ns_; }

  // Does nothing before due_ns(), and sets the next.
  void look(std::uint64_t now);

 private:
  // What would not be needed if so many bytes were in use, but for kKept.
  [[nodiscard]] std::uint64_t spare(std::uint64_t used) const noexcept {
    const std::uint64_t kept = used + kKept;
    return arena_.committed() > kept ? arena_.committed() - kept : 0;
  }

  ipc::Arena& arena_;
  std::uint64_t most_ = 0;  // was in use at once since the last look that gave nothing back
  std::uint64_t due_ns_ = ipc::kForever;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// How long a worker spins for its next task before it sleeps: what it was granted, less what
// experience says is wasted.
//
// Threads: the worker's loop. Not: a grant; how much may be spun at all the supervisor decides.
//
// A caller with a call every millisecond would make a worker spin in vain each time; one that
// waits for each result before it makes the next call should always meet a spinning worker. So:
// every second vain spin in a row halves the time, down to nothing. A spin that was rewarded, or a
// task that came so soon after the worker fell asleep that a full spin would have met it, restores
// all of it.
#pragma once

#include <algorithm>
#include <cstdint>

namespace owngil::ipc {

class SpinBudget {
 public:
  [[nodiscard]] std::uint64_t budget_ns(std::uint64_t granted_ns) const noexcept {
    const std::uint64_t budget = granted_ns >> halvings_;
    return budget < kLeastNs ? 0 : budget;
  }

  void rewarded() noexcept { reset(); }

  void in_vain() noexcept {
    if (++vain_ >= kPatience) {
      vain_ = 0;
      halvings_ = std::min(halvings_ + 1, kMostHalvings);
    }
  }

  // A task ended the sleep after `slept_ns`, the time of waking up included.
  void woken(std::uint64_t slept_ns, std::uint64_t granted_ns) noexcept {
    if (slept_ns <= granted_ns + kWakeNs) {
      reset();
    }
  }

 private:
  static constexpr std::uint32_t kPatience = 2;
  static constexpr std::uint32_t kMostHalvings = 20;
  // Less than a few looks at the ring is not worth a look at the clock.
  static constexpr std::uint64_t kLeastNs = 1'000;
  // From a store to the run of the thread it wakes: 5 µs on bare metal, 30–50 on virtual machines.
  static constexpr std::uint64_t kWakeNs = 50'000;

  void reset() noexcept {
    halvings_ = 0;
    vain_ = 0;
  }

  std::uint32_t halvings_ = 0;
  std::uint32_t vain_ = 0;
};

}  // namespace owngil::ipc

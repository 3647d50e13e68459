// SPDX-License-Identifier: BSD-3-Clause
// A place where one thread of this process sleeps until another calls it.
//
// Threads: park by the one that owns it, unpark by any. An unpark before the park is not lost.
// Not: shared between processes. Unlike a condition variable, a signal ends the sleep.
#pragma once

#include "ipc/futex.hpp"

#include <atomic>
#include <cstdint>

namespace owngil::runtime {

class Parking {
 public:
  // Returns when unparked, after `timeout_ns` (ipc::kForever: no limit), or by a signal.
  enum class Ended { unparked, timeout, signal };

  Ended park(std::uint64_t timeout_ns) {
    if (word_.exchange(0, std::memory_order_acquire) != 0) return Ended::unparked;
    const ipc::Wake wake = ipc::futex_wait(word_, 0, timeout_ns);
    if (word_.exchange(0, std::memory_order_acquire) != 0) return Ended::unparked;
    if (wake == ipc::Wake::signal) return Ended::signal;
    return wake == ipc::Wake::timeout ? Ended::timeout : Ended::unparked;
  }

  void unpark() {
    word_.store(1, std::memory_order_release);
    ipc::futex_wake(word_, 1);
  }

 private:
  std::atomic<std::uint32_t> word_{0};
};

}  // namespace owngil::runtime

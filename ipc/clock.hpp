// SPDX-License-Identifier: BSD-3-Clause
// The one clock: CLOCK_MONOTONIC in nanoseconds, the same in all processes of a machine.
#pragma once

#include <time.h>

#include <cstdint>

namespace owngil::ipc {

[[nodiscard]] inline std::uint64_t now_ns() noexcept {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
// Durations as users give them, for the runtime, which counts nanoseconds.
//
// Lifetime: none.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace owngil::cpp {

// `name`: of what it is, for the error. Throws std::invalid_argument: it is negative.
inline std::uint64_t nanoseconds(std::chrono::nanoseconds duration, const char* name) {
  if (duration.count() < 0) {
    throw std::invalid_argument(std::string("owngil: ") + name + " must not be negative");
  }
  return static_cast<std::uint64_t>(duration.count());
}

}  // namespace owngil::cpp

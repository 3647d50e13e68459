// SPDX-License-Identifier: BSD-3-Clause
// OWNGIL_CHECK: a condition that only a bug in this code can break.
//
// It aborts. In a worker that costs one task; in the user's process it is reserved for what
// would otherwise corrupt memory. What a peer wrote is never checked with it.
#pragma once

namespace owngil::ipc {

[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;

}  // namespace owngil::ipc

#define OWNGIL_CHECK(condition)                                    \
  do {                                                             \
    if (__builtin_expect(!(condition), 0)) {                       \
      ::owngil::ipc::check_failed(#condition, __FILE__, __LINE__); \
    }                                                              \
  } while (false)

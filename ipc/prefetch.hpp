// SPDX-License-Identifier: BSD-3-Clause
// Asks for a cache line that is about to be written, so that it comes once and exclusively
// instead of first shared, for the load, and then again for the store.
#pragma once

namespace owngil::ipc {

inline void prefetch_for_write(const void* address) noexcept {
#if defined(__x86_64__)
  // By hand: the compiler makes a read prefetch of it unless told that the CPU knows prefetchw.
  // One that does not executes it as a no-op.
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(address)));
#else
  __builtin_prefetch(address, 1);
#endif
}

}  // namespace owngil::ipc

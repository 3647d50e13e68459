// SPDX-License-Identifier: BSD-3-Clause
// One breath in a spin loop: tells the CPU that this thread waits for another one's store.
#pragma once

namespace owngil::ipc {

inline void cpu_pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // `yield` is a no-op on most cores; isb waits about as long
                                     // as x86's pause
#else
  asm volatile("" ::: "memory");
#endif
}

}  // namespace owngil::ipc

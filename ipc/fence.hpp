// SPDX-License-Identifier: BSD-3-Clause
// The full fence, and the one argument for all its uses.
//
// Two parties each store to a word of their own and then look at the other's ("I sleep" against
// "there is work"). With a full fence between the store and the look on both sides, at least one
// of the two sees the other's store; acquire and release alone do not promise that. So every use
// names its partner: `fence with: <the other side>`.
#pragma once

#include <atomic>

namespace owngil::ipc {

inline void full_fence() noexcept {
  // ThreadSanitizer does not model fences. No happens-before edge here rests on one: data is
  // always handed over by a release store and an acquire load, which it does model.
#if defined(__SANITIZE_THREAD__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
  std::atomic_thread_fence(std::memory_order_seq_cst);
#if defined(__SANITIZE_THREAD__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
// Sleeping on a word of shared memory until somebody wakes.
//
// Threads: any. Processes: the futexes are not private, so a sleeper and its waker may live in
//   different processes; the waker needs the memory for reading only.
// Not: a lock. What the word means, and that no wake-up is lost, is the user's business.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

namespace owngil::ipc {

inline constexpr std::uint64_t kForever = ~std::uint64_t{0};

enum class Wake { woken, changed, timeout, signal };

// Sleeps while the word holds `expected`; `changed` if it did not even at first. A `woken` may
// be spurious.
Wake futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                std::uint64_t timeout_ns) noexcept;
// The same for the low half of a counter.
Wake futex_wait(const std::atomic<std::uint64_t>& counter, std::uint64_t expected,
                std::uint64_t timeout_ns) noexcept;

// How many were woken, `at_most` at the most.
int futex_wake(const std::atomic<std::uint32_t>& word, int at_most) noexcept;
int futex_wake(const std::atomic<std::uint64_t>& counter, int at_most) noexcept;

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
// Whether a worker has more private memory than it may have; asked between its tasks.
//
// Threads: the worker's loop.
// Lifetime: the loop's.
// Not: a limit of the kernel's. A task may take as much as it likes while it runs, and nothing is
//   looked at as long as it does.
//
// What is private the kernel only tells by walking all pages (smaps_rollup: 12 ms a GiB), because
// a forked worker shares most of what it began with. What is resident it knows (5 us with opening
// the file), and that is never less; so it is asked first. Both at such a rate that looking takes
// at most a hundredth of the time.
#pragma once

#include <cstdint>

namespace owngil::workers {

// Bytes; 0: cannot be told.
struct MemoryReader {
  std::uint64_t (*resident)() noexcept;
  std::uint64_t (*exactly_private)() noexcept;
};
[[nodiscard]] MemoryReader memory_of_this_process() noexcept;

class MemoryLimit {
 public:
  // 0: no limit.
  explicit MemoryLimit(std::uint64_t limit_bytes,
                       MemoryReader reader = memory_of_this_process()) noexcept
      : limit_(limit_bytes), reader_(reader), next_look_ns_(limit_bytes == 0 ? kNever : 0) {}

  // Both after each task, with the time at which it ended. Looking may take a while.
  [[nodiscard]] bool is_look_due(std::uint64_t now_ns) const noexcept {
    return now_ns >= next_look_ns_;
  }
  [[nodiscard]] bool is_exceeded(std::uint64_t now_ns) noexcept;

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  [[nodiscard]] bool look_exactly(std::uint64_t resident, std::uint64_t now_ns) noexcept;

  // immutable after construction
  std::uint64_t limit_;
  MemoryReader reader_;
  // the loop's
  std::uint64_t next_look_ns_;
  std::uint64_t next_exact_ns_ = 0;
  std::uint64_t exact_from_ = 0;  // with so much resident the exact look is due at once
};

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
// Shared memory of the user's process as the worker has it mapped, for reading only.
//
// It is found by /proc, since no descriptor of it was there when the worker began. What was looked at
// stays mapped for a while, so that the next task that is given it meets no page fault.
// Threads: needs the GIL.
// Lifetime: as long as the process: what a task has kept may outlive the loop.
// Not: a hold. The user's process counts, and keeps, what may be looked at.
#pragma once

#include "ipc/buffer_list.hpp"
#include "ipc/mapping.hpp"

#include <cstddef>
#include <cstdint>
#include <unordered_map>

namespace owngil::workers {

class SharedViews {
 public:
  // Counts one more who looks at it. Throws std::system_error: it cannot be had.
  [[nodiscard]] std::byte* open(ipc::BlockRef name, const ipc::SharedPlace& place);
  void close(std::uint64_t name) noexcept;

 private:
  struct View {
    ipc::Mapping memory;
    std::uint64_t users = 0;
    std::uint64_t closed = 0;  // when the last user left, by closed_
  };

  void keep_unused(std::size_t count) noexcept;

  std::unordered_map<std::uint64_t, View> views_;  // by name, which is never used again
  std::size_t unused_ = 0;
  std::uint64_t closed_ = 0;
};

}  // namespace owngil::workers

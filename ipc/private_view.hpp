// SPDX-License-Identifier: BSD-3-Clause
// A peer's arena mapped so that what is written to it stays this process's own.
//
// Who gets a large buffer may write to it: the kernel copies a page when it is first written, so
// reading costs no copy, nobody else sees a change, and a fork behaves as with any memory.
// Threads: any, for blocks that they have to themselves. Processes: the peer's, of an Arena.
// Lifetime: pages that were written hold memory until forget_writes(), the others are the arena's.
// Not: a snapshot. What was not written shows what the peer writes; it writes to no block that is
//   out.
#pragma once

#include "ipc/layout.hpp"
#include "ipc/mapping.hpp"

#include <cstddef>

namespace owngil::ipc {

// Whether this process has written to a page of this memory since it was mapped copy on write, or
// may have: then what it sees there is not what the file has.
[[nodiscard]] bool has_own_pages(const std::byte* data, std::size_t size) noexcept;

class PrivateView {
 public:
  // Throws std::system_error.
  PrivateView(int fd, std::size_t size, OnFork on_fork = OnFork::inherit)
      : mapping_(fd, size, Access::copy_on_write, on_fork, OnCoreDump::exclude) {}

  // The bytes of a block that has its pages for itself; nullptr: it does not, or lies elsewhere.
  [[nodiscard]] std::byte* checked(BlockRef block) const noexcept {
    if (block.size == 0 || block.size > mapping_.size() ||
        block.offset > mapping_.size() - block.size || block.offset % kPageBytes != 0) {
      return nullptr;
    }
    return mapping_.data() + block.offset;
  }

  // Requires: it was checked once.
  [[nodiscard]] std::byte* at(BlockRef block) const noexcept {
    return mapping_.data() + block.offset;
  }

  // The block shows again what the peer has there. Call it before the peer may use it anew.
  void forget_writes(BlockRef block) const noexcept;

  // Unmaps what lies beyond the first `size` bytes; at least a page stays.
  void shrink(std::size_t size) noexcept { mapping_.shrink(size); }

  [[nodiscard]] const std::byte* data() const noexcept { return mapping_.data(); }
  [[nodiscard]] std::size_t size() const noexcept { return mapping_.size(); }

 private:
  Mapping mapping_;
};

}  // namespace owngil::ipc

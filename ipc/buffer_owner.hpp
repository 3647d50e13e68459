// SPDX-License-Identifier: BSD-3-Clause
// Who is told when nobody looks at a large buffer any more.
//
// Threads: whoever lets go, which may be any thread.
// Lifetime: outlives every buffer that was made with it.
// Not: the memory; see PrivateView.
#pragma once

#include "ipc/layout.hpp"

#include <cstdint>

namespace owngil::ipc {

class BufferOwner {
 public:
  // `stamp` is what the buffer was made with.
  virtual void let_go(BlockRef block, std::uint64_t stamp) noexcept = 0;

 protected:
  ~BufferOwner() = default;
};

}  // namespace owngil::ipc

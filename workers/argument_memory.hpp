// SPDX-License-Identifier: BSD-3-Clause
// The large buffers of arguments, as the worker has them until it lets go: its own to write to, but
// for those that are shared.
//
// Threads: needs the GIL.
// Lifetime: as long as the process: what a task has kept may outlive the loop.
// Not: an allocator. Blocks are the user's process's, which counts who looks at them; it learns
//   through the return ring that this worker does not any more.
#pragma once

#include "ipc/buffer_list.hpp"
#include "ipc/buffer_owner.hpp"
#include "ipc/channel.hpp"
#include "ipc/layout.hpp"
#include "ipc/private_view.hpp"
#include "workers/buffer_source.hpp"
#include "workers/python.hpp"
#include "workers/shared_views.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace owngil::workers {

class ArgumentMemory final : public ipc::BufferOwner {
 public:
  ArgumentMemory(int fd, std::size_t size, PyTypeObject* buffer_type)
      : view_(fd, size), buffer_type_(buffer_type) {}

  // The buffers that a list names, in a list of Python's. None: an exception is set, and all of
  // them are given back.
  [[nodiscard]] Ref open(std::span<const std::byte> list) noexcept;
  // A copy of what it holds, for whoever needs no more: it is given back.
  void copy_out(ipc::BlockRef block, void* to) noexcept;
  // Requires: it is not shared.
  [[nodiscard]] Ref open_own(ipc::BlockRef block) noexcept;
  // Those of a task that is not decoded.
  void give_back_unread(std::span<const std::byte> list) noexcept;

  void give_back(ipc::BlockRef block) noexcept { returned_.push_back(block.offset); }

  void let_go(ipc::BlockRef block, std::uint64_t stamp) noexcept override;

  // Says what was let go. Call it before a reply is published.
  void tell(ipc::WorkerEnd& channel) noexcept {
    if (!returned_.empty()) tell_all(channel);
  }

 private:
  [[nodiscard]] Ref open_shared(ipc::BlockRef name, const ipc::SharedPlace& place) noexcept;
  void tell_all(ipc::WorkerEnd& channel) noexcept;

  // immutable after construction
  ipc::PrivateView view_;
  PyTypeObject* buffer_type_;
  // whoever has the GIL
  SharedViews shared_;
  std::vector<std::uint64_t> returned_;  // and not told
};

// Those that a tagged call came with; what is not taken by its end is given back.
class ArgumentBuffers final : public BufferSource {
 public:
  ArgumentBuffers(ArgumentMemory& memory, ipc::BufferList list) noexcept
      : memory_(memory), list_(list) {}
  ArgumentBuffers(const ArgumentBuffers&) = delete;
  ArgumentBuffers& operator=(const ArgumentBuffers&) = delete;
  ~ArgumentBuffers() {
    while (next_ != list_.size()) memory_.give_back(list_[next_++]);
  }

  [[nodiscard]] bool copy_next(void* to, std::size_t size) noexcept override;
  [[nodiscard]] Ref take_next(std::size_t size) noexcept override;

 private:
  // The user's process has written the list and what names it.
  [[nodiscard]] ipc::BlockRef next(std::size_t size) noexcept;

  ArgumentMemory& memory_;
  const ipc::BufferList list_;
  std::uint32_t next_ = 0;
};

}  // namespace owngil::workers

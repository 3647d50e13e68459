// SPDX-License-Identifier: BSD-3-Clause
#include "workers/argument_memory.hpp"

#include "ipc/buffer_list.hpp"
#include "ipc/check.hpp"
#include "workers/buffer_object.hpp"
#include "workers/forked_child.hpp"

#include <optional>

namespace owngil::workers {

Ref ArgumentMemory::open(std::span<const std::byte> bytes) noexcept {
  const auto list = ipc::BufferList::read(bytes);
  OWNGIL_CHECK(list.has_value());
  Ref buffers = Ref::steal(PyList_New(list->size()));
  for (std::uint32_t i = 0; i != list->size(); ++i) {
    const ipc::BlockRef named = (*list)[i];
    const ipc::BlockRef block{named.offset & ~ipc::kShared, named.size};
    std::byte* const data = view_.checked(block);
    OWNGIL_CHECK(data != nullptr);
    Ref buffer = make_buffer(buffer_type_, *this, block, data, named.offset & ipc::kShared);
    if (!buffer) {
      buffers.reset();
    } else if (buffers) {
      PyList_SET_ITEM(buffers.get(), i, buffer.release());
    }
  }
  return buffers;
}

void ArgumentMemory::give_back_unread(std::span<const std::byte> bytes) noexcept {
  const auto list = ipc::BufferList::read(bytes);
  OWNGIL_CHECK(list.has_value());
  for (std::uint32_t i = 0; i != list->size(); ++i)
    returned_.push_back((*list)[i].offset & ~ipc::kShared);
}

// In a process that a task has forked the memory is that process's own, and nobody is told.
void ArgumentMemory::let_go(ipc::BlockRef block, std::uint64_t shared) noexcept {
  if (is_forked_child()) return;
  if (shared == 0) view_.forget_writes(block);
  returned_.push_back(block.offset);
}

void ArgumentMemory::tell_all(ipc::WorkerEnd& channel) noexcept {
  while (!returned_.empty() && channel.try_push_return(returned_.back())) returned_.pop_back();
}

}  // namespace owngil::workers

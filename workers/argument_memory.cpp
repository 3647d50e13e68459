// SPDX-License-Identifier: BSD-3-Clause
#include "workers/argument_memory.hpp"

#include "ipc/check.hpp"
#include "workers/buffer_object.hpp"
#include "workers/forked_child.hpp"

#include <cerrno>
#include <cstring>
#include <new>
#include <optional>
#include <system_error>

namespace owngil::workers {

Ref ArgumentMemory::open(std::span<const std::byte> bytes) noexcept {
  const auto list = ipc::BufferList::read(bytes);
  OWNGIL_CHECK(list.has_value());
  Ref buffers = Ref::steal(PyList_New(list->size()));
  for (std::uint32_t i = 0, shared = 0; i != list->size(); ++i) {
    const ipc::BlockRef block = (*list)[i];
    Ref buffer;
    if ((block.offset & ipc::kShared) != 0) {
      buffer = open_shared(block, list->place(shared++));
    } else {
      buffer = open_own(block);
    }
    if (!buffer) {
      buffers.reset();
    } else if (buffers) {
      PyList_SET_ITEM(buffers.get(), i, buffer.release());
    }
  }
  return buffers;
}

Ref ArgumentMemory::open_own(ipc::BlockRef block) noexcept {
  std::byte* const data = view_.checked(block);
  OWNGIL_CHECK(data != nullptr);
  return make_buffer(buffer_type_, *this, block, data, 0);
}

void ArgumentMemory::copy_out(ipc::BlockRef block, void* to) noexcept {
  const std::byte* const data = view_.checked(block);
  OWNGIL_CHECK(data != nullptr);
  std::memcpy(to, data, block.size);
  give_back(block);
}

Ref ArgumentMemory::open_shared(ipc::BlockRef name, const ipc::SharedPlace& place) noexcept {
  try {
    return make_buffer(buffer_type_, *this, name, shared_.open(name, place), 0);
  } catch (const std::system_error& error) {
    const bool no_memory = error.code().value() == ENOMEM;
    PyErr_Format(no_memory ? PyExc_MemoryError : PyExc_OSError,
                 "owngil: no access to %llu shared bytes: %s",
                 static_cast<unsigned long long>(name.size), error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  returned_.push_back(name.offset);
  return {};
}

void ArgumentMemory::give_back_unread(std::span<const std::byte> bytes) noexcept {
  const auto list = ipc::BufferList::read(bytes);
  OWNGIL_CHECK(list.has_value());
  for (std::uint32_t i = 0; i != list->size(); ++i) give_back((*list)[i]);
}

// In a process that a task has forked the memory is that process's own, and nobody is told.
void ArgumentMemory::let_go(ipc::BlockRef block, std::uint64_t) noexcept {
  if (is_forked_child()) return;
  if ((block.offset & ipc::kShared) != 0) {
    shared_.close(block.offset);
  } else {
    view_.forget_writes(block);
  }
  returned_.push_back(block.offset);
}

ipc::BlockRef ArgumentBuffers::next(std::size_t size) noexcept {
  OWNGIL_CHECK(next_ != list_.size());
  const ipc::BlockRef block = list_[next_++];
  OWNGIL_CHECK(block.size == size);
  return block;
}

bool ArgumentBuffers::copy_next(void* to, std::size_t size) noexcept {
  memory_.copy_out(next(size), to);
  return true;
}

Ref ArgumentBuffers::take_next(std::size_t size) noexcept { return memory_.open_own(next(size)); }

void ArgumentMemory::tell_all(ipc::WorkerEnd& channel) noexcept {
  while (!returned_.empty() && channel.try_push_return(returned_.back())) returned_.pop_back();
}

}  // namespace owngil::workers

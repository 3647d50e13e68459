// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/sent_buffers.hpp"

#include "ipc/buffer_list.hpp"
#include "python/binding/room.hpp"
#include "python/binding/shared_data.hpp"
#include "workers/python.hpp"

#include <cstring>
#include <new>
#include <optional>

namespace owngil::binding {
namespace {

// A copy that takes longer than to give up the GIL and to get it back.
constexpr std::size_t kLongCopy = std::size_t{1} << 20;

}  // namespace

void SentBuffers::drop_from(std::size_t first) {
  for (std::size_t i = first; i != blocks_.size(); ++i) supervisor_.drop_buffer(blocks_[i]);
  blocks_.resize(first);
}

bool SentBuffers::put(const ModuleState& state, const workers::CollectedBuffers& collected,
                      std::uint32_t flags, std::span<const std::byte> rest,
                      workers::ByteBuffer& out) {
  const std::size_t before = blocks_.size();
  const std::size_t start = out.size();
  std::vector<runtime::SharedBlock*> shared;
  for (const Py_buffer& view : collected.views) {
    if (auto* const block = shared_block(state, view.obj)) shared.push_back(block);
  }
  const ipc::BufferListHead head{static_cast<std::uint32_t>(collected.views.size()), flags,
                                 static_cast<std::uint32_t>(shared.size())};
  bool fits = out.append(&head, sizeof head);
  for (const Py_buffer& view : collected.views) {
    if (!fits) break;
    try {
      if (auto* const block = shared_block(state, view.obj)) {
        blocks_.push_back(supervisor_.hold_shared(*block));
      } else if (!copy(view)) {
        drop_from(before);
        out.set_size(start);
        return false;
      }
      fits = out.append(&blocks_.back(), sizeof blocks_.back());
    } catch (const std::bad_alloc&) {
      fits = false;
    }
  }
  for (const runtime::SharedBlock* block : shared) {
    fits = fits && out.append(&block->place(), sizeof block->place());
  }
  if (fits && out.append(rest.data(), rest.size())) return true;
  drop_from(before);
  out.set_size(start);
  PyErr_NoMemory();
  return false;
}

// False: an exception is set.
bool SentBuffers::copy(const Py_buffer& view) {
  const auto size = static_cast<std::size_t>(view.len);
  std::optional<ipc::BlockRef> block;
  while (!(block = supervisor_.new_buffer(size))) {
    if (!wait_for_room(supervisor_, size)) return false;
  }
  blocks_.push_back(*block);
  bytes_ += size;
  if (size < kLongCopy) {
    std::memcpy(supervisor_.buffer_at(*block), view.buf, size);
  } else {
    const WithoutGil without_gil;
    std::memcpy(supervisor_.buffer_at(*block), view.buf, size);
  }
  return true;
}

}  // namespace owngil::binding

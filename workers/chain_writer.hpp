// SPDX-License-Identifier: BSD-3-Clause
// Writes the results of a chunk, item by item, into a chain of blocks.
//
// Threads: the worker's loop alone. Processes: whoever outlives the worker reads the chain.
// Lifetime: one chunk. The blocks are the reader's once the chunk's reply, or the worker's end,
//   has told of them.
// Invariants:
//   W1  The chain is known (`current.chain`) before its first item is complete.
//   W2  An item counts in `current.progress` once it, and the way to it, is written.
//   W3  The present block always has room to say of each further item that it failed.
#pragma once

#include "ipc/channel.hpp"
#include "ipc/item.hpp"
#include "ipc/layout.hpp"
#include "workers/result_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace owngil::workers {

class ChainWriter {
 public:
  ChainWriter(ipc::WorkerEnd& channel, ResultMemory& memory) : channel_(channel), memory_(memory) {}

  // Opens the chain for up to `items` items. False: no memory.
  [[nodiscard]] bool open(std::uint32_t items);

  // Writes and completes the next item. False: no memory for it, nothing was written. `flags`:
  // ipc::ResultFlag.
  [[nodiscard]] bool add(ipc::Status status, ipc::Format format, std::span<const std::byte> bytes,
                         std::uint8_t flags = 0) {
    const std::size_t size = ipc::item_head(bytes.size(), format, status) + bytes.size();
    if (room_ < least_room(size) && !open_next_block(size)) return false;
    std::byte* const at = ipc::put_item_head(next_, bytes.size(), format, status, flags);
    if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
    complete(at + bytes.size());
    return true;
  }

  // The same in place, for a tagged value of at most `size` <= kLongestShortItem bytes: where it
  // goes, or nullptr if it has to go the other way; then its end.
  [[nodiscard]] std::byte* try_begin_short(std::size_t size) {
    return room_ < least_room(ipc::kShortHead + size) ? nullptr : next_ + ipc::kShortHead;
  }
  void complete_short(std::byte* end) {
    *next_ = static_cast<std::byte>(end - next_ - ipc::kShortHead);
    complete(end);
  }

  // The next item failed, and there is no memory to tell how.
  void add_untold_failure() {
    *next_ = static_cast<std::byte>(ipc::ItemMark::untold);
    complete(next_ + ipc::kShortHead);
  }

  [[nodiscard]] ipc::BlockRef first() const { return first_; }
  [[nodiscard]] std::uint32_t done() const { return done_; }

 private:
  // What the next item of `size` bytes and W3 need: a byte for each item behind it, and for the
  // way on.
  [[nodiscard]] std::size_t least_room(std::size_t size) const { return size + (items_ - done_); }
  void complete(std::byte* end) {
    room_ -= static_cast<std::size_t>(end - next_);
    next_ = end;
    channel_.set_progress(++done_);
  }
  [[nodiscard]] bool open_next_block(std::size_t item_bytes);
  [[nodiscard]] std::uint64_t block_bytes(std::size_t item_bytes) const;
  [[nodiscard]] std::uint64_t written_here() const {
    return block_.size == 0 ? 0 : block_.size - sizeof(ipc::ChainHeader) - room_;
  }
  void start(ipc::BlockRef block);

  ipc::WorkerEnd& channel_;
  ResultMemory& memory_;
  std::byte* next_ = nullptr;  // where the next item goes
  std::size_t room_ = 0;       // bytes from there to the end of the block
  std::uint32_t items_ = 0;
  std::uint32_t done_ = 0;
  std::uint64_t written_ = 0;  // bytes of items in the blocks before this one
  ipc::BlockRef block_{0, 0};
  ipc::BlockRef first_{0, 0};
};

}  // namespace owngil::workers

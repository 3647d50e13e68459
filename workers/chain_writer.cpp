// SPDX-License-Identifier: BSD-3-Clause
#include "workers/chain_writer.hpp"

#include <algorithm>
#include <cstdint>

namespace owngil::workers {
namespace {

// A block holds what is likely to come of all further items, within these: little enough that a
// short chunk wastes nothing and that it stays in the cache, and an int of each in any case.
constexpr std::uint64_t kLeastBytes = 256;
constexpr std::uint64_t kMostBytes = 64 * 1024;
constexpr std::uint64_t kIntBytes = 8;

}  // namespace

bool ChainWriter::open(std::uint32_t items) {
  items_ = items;
  const auto block = memory_.allocate(block_bytes(0));
  if (!block) return false;
  first_ = *block;
  start(*block);
  channel_.set_chain(first_);
  return true;
}

bool ChainWriter::open_next_block(std::size_t item_bytes) {
  if (item_bytes > UINT32_MAX) return false;
  const auto block = memory_.allocate(block_bytes(item_bytes));
  if (!block) return false;
  *next_ = static_cast<std::byte>(ipc::ItemMark::next_block);
  const ipc::ChainHeader header{*block};
  std::memcpy(memory_.at(block_.offset), &header, sizeof header);
  written_ += written_here();
  start(*block);
  return true;
}

// `item_bytes`: of the item for which it is opened.
std::uint64_t ChainWriter::block_bytes(std::size_t item_bytes) const {
  const std::uint64_t left = items_ - done_;
  const std::uint64_t likely = done_ == 0 ? kIntBytes : (written_ + written_here()) / done_ + 1;
  const std::uint64_t room =
      std::clamp(likely * left, kLeastBytes, std::max(kMostBytes, kIntBytes * left));
  return sizeof(ipc::ChainHeader) + least_room(std::max<std::uint64_t>(room, item_bytes));
}

void ChainWriter::start(ipc::BlockRef block) {
  const ipc::ChainHeader header{{0, 0}};
  std::memcpy(memory_.at(block.offset), &header, sizeof header);
  block_ = block;
  next_ = memory_.at(block.offset) + sizeof header;
  room_ = block.size - sizeof header;
}

}  // namespace owngil::workers

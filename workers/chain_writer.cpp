// SPDX-License-Identifier: BSD-3-Clause
#include "workers/chain_writer.hpp"

#include <algorithm>

namespace owngil::workers {
namespace {

// A block holds the headers of all further items, and of their values what is likely to come,
// within these: few enough that a short chunk wastes nothing and that they stay in the cache.
constexpr std::uint64_t kLeastValueBytes = 256;
constexpr std::uint64_t kMostValueBytes = 64 * 1024;
// An int's. Only a first guess.
constexpr std::uint64_t kLikelyValueBytes = 8;

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
  if (item_bytes >= ipc::kNextBlock) return false;
  const auto block = memory_.allocate(block_bytes(item_bytes));
  if (!block) return false;
  const ipc::ItemHeader follow{ipc::kNextBlock, ipc::Format::none, ipc::Status::returned, 0};
  std::memcpy(next_, &follow, sizeof follow);
  const ipc::ChainHeader header{*block};
  std::memcpy(memory_.at(block_.offset), &header, sizeof header);
  written_ += written_here();
  start(*block);
  return true;
}

std::uint64_t ChainWriter::block_bytes(std::size_t item_bytes) const {
  const std::uint64_t left = items_ - done_;
  const std::uint64_t headers = least_room(0);
  const std::uint64_t values = written_ + written_here() - done_ * sizeof(ipc::ItemHeader);
  const std::uint64_t likely = done_ == 0 ? kLikelyValueBytes : values / done_ + 1;
  const std::uint64_t room =
      std::clamp(likely * left, kLeastValueBytes, std::max(kMostValueBytes, headers));
  return sizeof(ipc::ChainHeader) + headers + std::max(room, ipc::padded(item_bytes));
}

void ChainWriter::start(ipc::BlockRef block) {
  const ipc::ChainHeader header{{0, 0}};
  std::memcpy(memory_.at(block.offset), &header, sizeof header);
  block_ = block;
  next_ = memory_.at(block.offset) + sizeof header;
  room_ = block.size - sizeof header;
}

}  // namespace owngil::workers

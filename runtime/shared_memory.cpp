// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/shared_memory.hpp"

#include "ipc/private_view.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>

namespace owngil::runtime {
namespace {

// What is kept beyond what is in use; to get it again costs 0.7 ms a MiB.
constexpr std::uint64_t kKept = std::uint64_t{256} << 20;

}  // namespace

// A block, or a part of one.
class SharedMemory::Part final : public SharedBlock {
 public:
  Part(SharedMemory& memory, std::uint64_t block, ipc::BlockRef range)
      : SharedBlock(memory.arena_.fd(), range), memory_(memory), block_(block) {}

 private:
  ~Part() override { memory_.drop(block_, false); }

  SharedMemory& memory_;
  std::uint64_t block_;
};

SharedMemory::SharedMemory(std::size_t size)
    : pid_(static_cast<std::uint64_t>(::getpid())), arena_("owngil-shared", size) {}

std::optional<ipc::BlockRef> SharedMemory::make(std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  // More than the allocator calls small, so that it has its pages for itself.
  const auto block = arena_.allocate(std::max(size, ipc::BlockAllocator::kSmallBytes + 1));
  if (!block) return std::nullopt;
  blocks_.emplace(block->offset, Block{ipc::whole_pages(size)});
  return ipc::BlockRef{block->offset, size};
}

void SharedMemory::let_go(ipc::BlockRef block, std::uint64_t made_by) noexcept {
  if (made_by == static_cast<std::uint64_t>(::getpid())) drop(block.offset, true);
}

void SharedMemory::drop(std::uint64_t offset, bool by_user) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(offset);
  Block& block = found->second;
  // Nobody sees any more what the user has written since. One that cannot be thawed, for lack of
  // memory in the kernel, is not used again.
  if (by_user && block.is_frozen && !arena_.thaw(offset, block.size)) return;
  if (--block.holds > 0) return;
  blocks_.erase(found);
  arena_.free(offset);
  if (arena_.committed() > 2 * arena_.in_use() + kKept) arena_.trim(kKept);
}

SharedBlock* SharedMemory::freeze(const void* data, std::size_t size) {
  const auto* const begin = static_cast<const std::byte*>(data);
  if (begin < arena_.at(0) || begin >= arena_.at(0) + arena_.size()) return nullptr;
  const auto offset = static_cast<std::uint64_t>(begin - arena_.at(0));
  std::unique_lock lock(mutex_);
  auto found = blocks_.upper_bound(offset);
  if (found == blocks_.begin()) return nullptr;
  --found;
  if (offset + size > found->first + found->second.size || ipc::has_own_pages(begin, size)) {
    return nullptr;
  }
  const std::uint64_t first = offset / ipc::kPageBytes * ipc::kPageBytes;
  if (!arena_.freeze(first, ipc::whole_pages(offset + size) - first)) return nullptr;
  found->second.is_frozen = true;
  ++found->second.holds;
  const std::uint64_t block = found->first;
  lock.unlock();
  return share(block, {offset, size});
}

SharedBlock* SharedMemory::put(const void* data, std::size_t size) {
  const auto block = make(size);
  if (!block) return nullptr;
  std::memcpy(at(*block), data, size);
  return share(block->offset, *block);
}

// Takes over a hold on the block.
SharedBlock* SharedMemory::share(std::uint64_t block, ipc::BlockRef range) {
  try {
    return new Part(*this, block, range);
  } catch (const std::exception&) {
    drop(block, false);
    return nullptr;
  }
}

std::uint64_t SharedMemory::in_use() {
  const std::lock_guard lock(mutex_);
  return arena_.in_use();
}

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// Memory for payloads too large for a slot: one owner allocates and writes, its peer reads.
//
// Threads: one at a time; the owner guards it. Processes: Arena in the owner's, ArenaView in its
//   peer's; who owns which arena stands in ARCHITECTURE.md.
// Lifetime: blocks are gone with the Arena; pages, when the peer's view is gone too.
// Large parts lie on huge pages where the system has them: there they cost a tenth to be had, and a
// third less to be read and written.
// Not: reference counting. Whoever owns the arena frees a block once, when the peer has said so.
// Invariants:
//   A1  Every byte of a block is committed before allocate() returns it: writing it cannot fault
//       for lack of memory.
//   A2  The memory is written through the owner's mapping only.
#pragma once

#include "ipc/block_allocator.hpp"
#include "ipc/layout.hpp"
#include "ipc/mapping.hpp"
#include "ipc/memfd.hpp"
#include "ipc/unique_fd.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace owngil::ipc {

class Arena {
 public:
  // Sizes are address space, not memory; rounded up to whole pages.
  // Both throw std::system_error naming the call that failed.
  Arena(const char* name, std::size_t size, OnFork on_fork = OnFork::inherit);
  // Takes over a memfd that another process made for it, and in which nothing is allocated yet.
  Arena(UniqueFd fd, std::size_t size, OnFork on_fork = OnFork::inherit);

  // Nothing: no hole is large enough, or no memory.
  [[nodiscard]] std::optional<BlockRef> allocate(std::uint64_t size);
  void free(std::uint64_t offset) { blocks_.free(offset); }
  [[nodiscard]] std::byte* at(std::uint64_t offset) const noexcept {
    return mapping_.data() + offset;
  }

  // Gives back pages that are in no block, but for about `keep` bytes; the last ones first.
  void trim(std::uint64_t keep);

  // From now on what is written to these pages by this mapping is this process's own, and the
  // memory stays as it is; until thaw(), which forgets what was written. False: it cannot be.
  // Requires: whole pages; not sealed.
  [[nodiscard]] bool freeze(std::uint64_t offset, std::uint64_t size) noexcept;
  [[nodiscard]] bool thaw(std::uint64_t offset, std::uint64_t size) noexcept;

  // A descriptor for peers, which cannot write by it. Throws std::system_error.
  [[nodiscard]] UniqueFd open_for_reading() const { return ipc::open_for_reading(fd_.get()); }

  // Whether the descriptor is still the arena's. Code that closes every descriptor that it finds
  // takes it, and what is opened next may get its number.
  [[nodiscard]] bool has_its_file() const noexcept;
  // Closes it no more.
  void give_up_file() noexcept { static_cast<void>(fd_.release()); }

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return mapping_.size(); }
  [[nodiscard]] std::uint64_t in_use() const noexcept { return blocks_.in_use(); }
  [[nodiscard]] std::uint64_t size_of(std::uint64_t offset) const {
    return blocks_.size_of(offset);
  }
  [[nodiscard]] std::uint64_t committed() const noexcept { return committed_ - in_holes_; }

 private:
  [[nodiscard]] bool commit_up_to(std::uint64_t end);
  [[nodiscard]] bool back(std::uint64_t begin, std::uint64_t end);
  [[nodiscard]] bool back_by_huge_pages(std::uint64_t begin, std::uint64_t end);
  [[nodiscard]] bool map_anew(std::uint64_t offset, std::uint64_t size, int flags) noexcept;
  [[nodiscard]] bool fill_holes(std::uint64_t begin, std::uint64_t end);
  void make_holes(std::uint64_t begin, std::uint64_t end, std::uint64_t least);
  void make_hole(std::uint64_t begin, std::uint64_t end);

  // immutable after construction
  UniqueFd fd_;
  FileId file_;
  Mapping mapping_;
  // the owner's thread
  BlockAllocator blocks_;
  std::uint64_t committed_ = 0;                   // up to here, but for the holes
  std::map<std::uint64_t, std::uint64_t> holes_;  // begin, end: given back by trim()
  std::uint64_t in_holes_ = 0;
};

class ArenaView {
 public:
  // Maps for reading only. Throws std::system_error.
  ArenaView(int fd, std::size_t size, OnFork on_fork = OnFork::inherit);

  // The bytes of the block, or nullptr if it does not lie in the arena or is not aligned as blocks
  // are. What the bytes say is still the peer's word.
  [[nodiscard]] const std::byte* checked(BlockRef block) const noexcept {
    if (block.size > mapping_.size() || block.offset > mapping_.size() - block.size ||
        block.offset % BlockAllocator::kAlignment != 0) {
      return nullptr;
    }
    return mapping_.data() + block.offset;
  }

  [[nodiscard]] std::size_t size() const noexcept { return mapping_.size(); }

 private:
  Mapping mapping_;
};

}  // namespace owngil::ipc

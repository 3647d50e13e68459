// SPDX-License-Identifier: BSD-3-Clause
// Who has which bytes of an arena: an allocator that never touches the memory it hands out.
//
// Threads: one at a time; its owner guards it. Processes: private to the arena's owner, so a
//   peer that scribbles over the arena cannot hurt it, and it goes with its owner.
// Lifetime: a plain object; offsets mean something only together with the arena.
// Not: a judge of who may free what. A wrong offset in free() is a bug and aborts.
//
// Up to kSmallBytes: slabs of 64 KiB cut into blocks of one size, four sizes to a doubling, the
// slab that was used last first: warm memory is handed out again. Above: runs of 4 KiB pages, best
// fit, the lowest on a tie, coalesced with free neighbours at once. A slab that is empty becomes a
// free run again, but for the last of its size.
// Invariants:
//   B1  Blocks that are out do not overlap, are aligned to 64 bytes and lie below high_water().
//   B2  No two free runs touch.
//   B3  high_water() never falls.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace owngil::ipc {

class BlockAllocator {
 public:
  static constexpr std::uint64_t kAlignment = 64;
  static constexpr std::uint64_t kSmallBytes = 8192;

  // Requires: size is a multiple of 4 KiB, at most 16 TiB.
  explicit BlockAllocator(std::uint64_t size);

  // The offset of at least `size` bytes; nothing if no hole is large enough.
  [[nodiscard]] std::optional<std::uint64_t> allocate(std::uint64_t size);
  void free(std::uint64_t offset);

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  // No block has ever reached beyond this offset.
  [[nodiscard]] std::uint64_t high_water() const noexcept { return high_water_pages_ * kPage; }
  // No block that is out reaches beyond this offset.
  [[nodiscard]] std::uint64_t used_end() const noexcept;
  // Of a block that is out, as it was handed out.
  [[nodiscard]] std::uint64_t size_of(std::uint64_t offset) const;
  // Calls visit(offset, size) for the free runs below high_water(), the largest first, while that
  // returns true. It may not allocate or free.
  template <class Visit>
  void each_free_run(Visit&& visit) const {
    for (auto run = free_runs_.rbegin(); run != free_runs_.rend(); ++run) {
      if (!visit(run->second * kPage, run->first * kPage)) return;
    }
  }
  // Bytes in blocks that are out, rounded up as they were handed out.
  [[nodiscard]] std::uint64_t in_use() const noexcept { return in_use_; }

 private:
  static constexpr std::uint64_t kPage = 4096;
  static constexpr std::uint32_t kSlabPages = 16;
  static constexpr std::size_t kClasses = 24;
  static constexpr std::uint32_t kNone = 0xFFFF'FFFF;

  enum class Use : std::uint8_t { inside, free_run, run, slab };

  // One for each page below the high-water mark. The first and the last page of a free run and
  // the first of a run know its length; every page of a slab knows the slab.
  struct Page {
    Use use = Use::inside;
    std::uint32_t value = 0;  // pages of the run; index of the slab
  };

  struct Slab {
    std::uint32_t first_page = 0;
    std::uint16_t used = 0;  // blocks that are out
    std::uint16_t blocks = 0;
    std::uint8_t size_class = 0;
    std::uint32_t newer = kNone;  // neighbours in the list of slabs of this size with room
    std::uint32_t older = kNone;
    std::array<std::uint64_t, 16> vacant{};  // a bit a block
  };

  [[nodiscard]] static std::size_t class_of(std::uint64_t size) noexcept;
  [[nodiscard]] static std::uint32_t class_bytes(std::size_t size_class) noexcept;

  [[nodiscard]] std::optional<std::uint64_t> allocate_small(std::size_t size_class);
  [[nodiscard]] std::optional<std::uint32_t> take_run(std::uint32_t pages, Use use);
  void free_small(std::uint64_t offset, std::uint32_t slab_index);
  void give_run(std::uint32_t first, std::uint32_t pages);
  void mark_free(std::uint32_t first, std::uint32_t pages);
  void unmark_free(std::uint32_t first, std::uint32_t pages);
  [[nodiscard]] bool make_slab(std::size_t size_class);
  void link(std::uint32_t slab_index);
  void unlink(std::uint32_t slab_index);

  // immutable after construction
  std::uint64_t size_;
  // the owner's thread
  std::uint64_t in_use_ = 0;
  std::uint32_t high_water_pages_ = 0;
  std::vector<Page> pages_;
  std::set<std::pair<std::uint32_t, std::uint32_t>> free_runs_;  // (pages, first page)
  std::vector<Slab> slabs_;
  std::vector<std::uint32_t> spare_slabs_;      // indices in slabs_ that are not in use
  std::array<std::uint32_t, kClasses> newest_;  // slab with room that was used last
};

}  // namespace owngil::ipc

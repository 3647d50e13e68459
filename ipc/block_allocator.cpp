// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/block_allocator.hpp"

#include "ipc/check.hpp"

#include <bit>
#include <iterator>

namespace owngil::ipc {
namespace {

// Four sizes to a doubling: 64 128 192 256, 320 384 448 512, 640 768 896 1024, … 8192.
constexpr std::uint32_t kStepsPerDoubling = 4;
constexpr std::uint32_t kFirstDoubling = 256;

}  // namespace

std::size_t BlockAllocator::class_of(std::uint64_t size) noexcept {
  if (size <= kFirstDoubling) {
    return size == 0 ? 0 : (size - 1) / kAlignment;
  }
  // size - 1 lies in [2^n, 2^(n+1)); its two bits below the top one tell the quarter.
  const unsigned top = static_cast<unsigned>(std::bit_width(size - 1)) - 1;
  const std::uint64_t quarter = ((size - 1) >> (top - 2)) & 3;
  return std::size_t{top - 7} * kStepsPerDoubling + quarter;
}

std::uint32_t BlockAllocator::class_bytes(std::size_t size_class) noexcept {
  const auto doubling = static_cast<std::uint32_t>(size_class / kStepsPerDoubling);
  const auto quarter = static_cast<std::uint32_t>(size_class % kStepsPerDoubling);
  if (doubling == 0) {
    return (quarter + 1) * static_cast<std::uint32_t>(kAlignment);
  }
  const std::uint32_t base = kFirstDoubling << (doubling - 1);
  return base + (quarter + 1) * (base / kStepsPerDoubling);
}

BlockAllocator::BlockAllocator(std::uint64_t size) : size_(size) {
  OWNGIL_CHECK(size % kPage == 0 && size / kPage < kNone);
  newest_.fill(kNone);
}

std::optional<std::uint64_t> BlockAllocator::allocate(std::uint64_t size) {
  if (size <= kSmallBytes) {
    return allocate_small(class_of(size));
  }
  if (size > size_) {
    return std::nullopt;
  }
  const auto pages = static_cast<std::uint32_t>((size + kPage - 1) / kPage);
  const std::optional<std::uint32_t> first = take_run(pages, Use::run);
  if (!first) {
    return std::nullopt;
  }
  in_use_ += pages * kPage;
  return *first * kPage;
}

void BlockAllocator::free(std::uint64_t offset) {
  const std::uint64_t page = offset / kPage;
  OWNGIL_CHECK(page < high_water_pages_);
  const Page& entry = pages_[page];
  if (entry.use == Use::slab) {
    free_small(offset, entry.value);
    return;
  }
  OWNGIL_CHECK(entry.use == Use::run && offset % kPage == 0);
  const std::uint32_t pages = entry.value;
  in_use_ -= pages * kPage;
  give_run(static_cast<std::uint32_t>(page), pages);
}

std::uint64_t BlockAllocator::size_of(std::uint64_t offset) const {
  const std::uint64_t page = offset / kPage;
  OWNGIL_CHECK(page < high_water_pages_);
  const Page& entry = pages_[page];
  return entry.use == Use::slab ? class_bytes(slabs_[entry.value].size_class) : entry.value * kPage;
}

std::uint64_t BlockAllocator::used_end() const noexcept {
  if (high_water_pages_ == 0) {
    return 0;
  }
  const Page& last = pages_[high_water_pages_ - 1];
  const std::uint32_t unused = last.use == Use::free_run ? last.value : 0;
  return (high_water_pages_ - unused) * kPage;
}

// --- small blocks: slabs ------------------------------------------------------------------

std::optional<std::uint64_t> BlockAllocator::allocate_small(std::size_t size_class) {
  if (newest_[size_class] == kNone && !make_slab(size_class)) {
    return std::nullopt;
  }
  const std::uint32_t slab_index = newest_[size_class];
  Slab& slab = slabs_[slab_index];
  std::size_t word = 0;
  while (slab.vacant[word] == 0) {
    ++word;
  }
  const auto bit = static_cast<std::size_t>(std::countr_zero(slab.vacant[word]));
  slab.vacant[word] &= slab.vacant[word] - 1;
  if (++slab.used == slab.blocks) {
    unlink(slab_index);
  }
  const std::uint32_t bytes = class_bytes(size_class);
  in_use_ += bytes;
  return slab.first_page * kPage + (word * 64 + bit) * bytes;
}

void BlockAllocator::free_small(std::uint64_t offset, std::uint32_t slab_index) {
  Slab& slab = slabs_[slab_index];
  const std::uint32_t bytes = class_bytes(slab.size_class);
  const std::uint64_t inside = offset - slab.first_page * kPage;
  const std::uint64_t block = inside / bytes;
  const std::uint64_t bit = std::uint64_t{1} << (block % 64);
  OWNGIL_CHECK(inside % bytes == 0 && block < slab.blocks && (slab.vacant[block / 64] & bit) == 0);
  slab.vacant[block / 64] |= bit;
  in_use_ -= bytes;
  if (slab.used == slab.blocks) {
    link(slab_index);
  }
  --slab.used;
  const bool alone = slab.newer == kNone && slab.older == kNone;
  if (slab.used == 0 && !alone) {
    unlink(slab_index);
    for (std::uint32_t page = slab.first_page; page < slab.first_page + kSlabPages; ++page) {
      pages_[page] = Page{};
    }
    spare_slabs_.push_back(slab_index);
    give_run(slab.first_page, kSlabPages);
  }
}

bool BlockAllocator::make_slab(std::size_t size_class) {
  const std::optional<std::uint32_t> first = take_run(kSlabPages, Use::slab);
  if (!first) {
    return false;
  }
  std::uint32_t slab_index = 0;
  if (spare_slabs_.empty()) {
    slab_index = static_cast<std::uint32_t>(slabs_.size());
    slabs_.emplace_back();
  } else {
    slab_index = spare_slabs_.back();
    spare_slabs_.pop_back();
  }
  Slab& slab = slabs_[slab_index];
  slab = Slab{};
  slab.first_page = *first;
  slab.size_class = static_cast<std::uint8_t>(size_class);
  slab.blocks = static_cast<std::uint16_t>(kSlabPages * kPage / class_bytes(size_class));
  for (std::size_t block = 0; block < slab.blocks; ++block) {
    slab.vacant[block / 64] |= std::uint64_t{1} << (block % 64);
  }
  for (std::uint32_t page = *first; page < *first + kSlabPages; ++page) {
    pages_[page] = Page{Use::slab, slab_index};
  }
  link(slab_index);
  return true;
}

void BlockAllocator::link(std::uint32_t slab_index) {
  Slab& slab = slabs_[slab_index];
  std::uint32_t& newest = newest_[slab.size_class];
  slab.newer = kNone;
  slab.older = newest;
  if (newest != kNone) {
    slabs_[newest].newer = slab_index;
  }
  newest = slab_index;
}

void BlockAllocator::unlink(std::uint32_t slab_index) {
  Slab& slab = slabs_[slab_index];
  if (slab.newer == kNone) {
    newest_[slab.size_class] = slab.older;
  } else {
    slabs_[slab.newer].older = slab.older;
  }
  if (slab.older != kNone) {
    slabs_[slab.older].newer = slab.newer;
  }
  slab.newer = kNone;
  slab.older = kNone;
}

// --- runs of pages ------------------------------------------------------------------------

std::optional<std::uint32_t> BlockAllocator::take_run(std::uint32_t pages, Use use) {
  std::uint32_t first = 0;
  const auto fit = free_runs_.lower_bound({pages, 0});
  if (fit != free_runs_.end()) {
    const auto [found_pages, found_first] = *fit;
    first = found_first;
    unmark_free(found_first, found_pages);
    if (found_pages > pages) {
      mark_free(found_first + pages, found_pages - pages);
    }
  } else {
    // No hole is large enough: go on above the high-water mark, from the free run below it.
    const auto begin = static_cast<std::uint32_t>(used_end() / kPage);
    if (pages > size_ / kPage - begin) {
      return std::nullopt;
    }
    if (begin < high_water_pages_) {
      unmark_free(begin, high_water_pages_ - begin);
    }
    first = begin;
    high_water_pages_ = begin + pages;
    pages_.resize(high_water_pages_);
  }
  pages_[first] = Page{use, pages};
  return first;
}

void BlockAllocator::give_run(std::uint32_t first, std::uint32_t pages) {
  pages_[first] = Page{};
  if (first > 0 && pages_[first - 1].use == Use::free_run) {
    const std::uint32_t before = pages_[first - 1].value;
    unmark_free(first - before, before);
    first -= before;
    pages += before;
  }
  const std::uint32_t end = first + pages;
  if (end < high_water_pages_ && pages_[end].use == Use::free_run) {
    const std::uint32_t after = pages_[end].value;
    unmark_free(end, after);
    pages += after;
  }
  mark_free(first, pages);
}

void BlockAllocator::mark_free(std::uint32_t first, std::uint32_t pages) {
  free_runs_.emplace(pages, first);
  pages_[first] = Page{Use::free_run, pages};
  pages_[first + pages - 1] = Page{Use::free_run, pages};
}

void BlockAllocator::unmark_free(std::uint32_t first, std::uint32_t pages) {
  free_runs_.erase({pages, first});
  pages_[first] = Page{};
  pages_[first + pages - 1] = Page{};
}

}  // namespace owngil::ipc

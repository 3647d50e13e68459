// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/arena.hpp"

#include "ipc/check.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <iterator>
#include <utility>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14; older headers lack it
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif

namespace owngil::ipc {
namespace {

// fallocate costs a system call however little it is asked for: take some ahead, and more ahead
// where much is in use already.
constexpr std::uint64_t kSmallestStep = std::uint64_t{256} * 1024;
constexpr std::uint64_t kLargestStep = std::uint64_t{8} * 1024 * 1024;

}  // namespace

Arena::Arena(const char* name, std::size_t size, OnFork on_fork)
    : Arena(create_memfd(name, whole_pages(size)), size, on_fork) {}

Arena::Arena(UniqueFd fd, std::size_t size, OnFork on_fork)
    : fd_(std::move(fd)),
      file_(file_id(fd_.get())),
      mapping_(fd_.get(), whole_pages(size), Access::read_write, on_fork, OnCoreDump::exclude),
      blocks_(whole_pages(size)) {}

std::optional<BlockRef> Arena::allocate(std::uint64_t size) {
  const std::optional<std::uint64_t> offset = blocks_.allocate(size);
  if (!offset) {
    return std::nullopt;
  }
  const std::uint64_t end = *offset + size;
  if ((end > committed_ && !commit_up_to(end)) ||
      (!holes_.empty() && !fill_holes(*offset, std::min(end, committed_)))) {
    blocks_.free(*offset);
    return std::nullopt;
  }
  return BlockRef{*offset, size};
}

bool Arena::has_its_file() const noexcept { return file_id(fd_.get()) == file_; }

bool Arena::commit_up_to(std::uint64_t end) {
  // Perhaps there is memory for just what is asked.
  const std::uint64_t least = whole_pages(end);
  if (has_its_file()) {
    const std::uint64_t step =
        end - committed_ >= kHugePage
            ? kHugePage
            : std::clamp(rounded_up(committed_ / 8, kSmallestStep), kSmallestStep, kLargestStep);
    const std::uint64_t ahead = std::min<std::uint64_t>(rounded_up(end, step), size());
    if (back(committed_, ahead)) {
      committed_ = ahead;
      return true;
    }
  }
  if (!back(committed_, least)) return false;
  committed_ = least;
  return true;
}

bool Arena::back(std::uint64_t begin, std::uint64_t end) {
  // The mapping is still there when the descriptor is not.
  if (!has_its_file()) return ::madvise(at(begin), end - begin, MADV_POPULATE_WRITE) == 0;
  const std::uint64_t first = rounded_up(begin, kHugePage);
  const std::uint64_t last = end / kHugePage * kHugePage;
  if (first < last && back_by_huge_pages(first, last)) {
    return ipc::commit(fd_.get(), begin, first - begin) && ipc::commit(fd_.get(), last, end - last);
  }
  return ipc::commit(fd_.get(), begin, end - begin);
}

// Whatever /sys/kernel/mm/transparent_hugepage/shmem_enabled says. There must be a page for the
// kernel to begin with.
bool Arena::back_by_huge_pages(std::uint64_t begin, std::uint64_t end) {
  if (reinterpret_cast<std::uintptr_t>(at(begin)) % kHugePage != 0) return false;
  for (std::uint64_t offset = begin; offset != end; offset += kHugePage) {
    if (!ipc::commit(fd_.get(), offset, kPageBytes)) return false;
  }
  return ::madvise(at(begin), end - begin, MADV_COLLAPSE) == 0;
}

void Arena::trim(std::uint64_t keep) {
  if (!has_its_file()) return;
  const std::uint64_t least = in_use() + keep;
  make_holes(rounded_up(blocks_.used_end(), kSmallestStep), committed_, least);
  if (!holes_.empty() && holes_.rbegin()->second == committed_) {  // it is the end, and no hole
    const auto last = std::prev(holes_.end());
    committed_ = last->first;
    in_holes_ -= last->second - last->first;
    holes_.erase(last);
  }
  blocks_.each_free_run([&](std::uint64_t offset, std::uint64_t size) {
    if (size < kSmallestStep || committed() <= least) return false;
    const std::uint64_t end_of_run = std::min(offset + size, committed_);
    // Of huge pages only whole ones go.
    const std::uint64_t first = rounded_up(offset, kHugePage);
    const std::uint64_t last = end_of_run / kHugePage * kHugePage;
    if (first < last) {
      make_holes(first, last, least);
    } else if (offset < end_of_run) {
      make_hole(offset, end_of_run);
    }
    return true;
  });
}

// Of whole huge pages, until no more than `least` bytes are committed.
void Arena::make_holes(std::uint64_t begin, std::uint64_t end, std::uint64_t least) {
  while (begin < end && committed() > least) {
    const auto above = holes_.lower_bound(end);
    const auto hole = above == holes_.begin() ? holes_.end() : std::prev(above);
    if (hole != holes_.end() && hole->second >= end) {
      end = hole->first;
      continue;
    }
    const std::uint64_t excess = committed() - least;
    const std::uint64_t from = excess < end ? (end - excess) / kHugePage * kHugePage : 0;
    const std::uint64_t hole_end = hole == holes_.end() ? 0 : hole->second;
    make_hole(std::max({begin, from, hole_end}), end);
  }
}

void Arena::make_hole(std::uint64_t begin, std::uint64_t end) {
  decommit(fd_.get(), begin, end - begin);
  auto hole = holes_.lower_bound(begin);
  if (hole != holes_.begin() && std::prev(hole)->second >= begin) --hole;
  while (hole != holes_.end() && hole->first <= end) {  // they become one
    begin = std::min(begin, hole->first);
    end = std::max(end, hole->second);
    in_holes_ -= hole->second - hole->first;
    hole = holes_.erase(hole);
  }
  holes_.emplace(begin, end);
  in_holes_ += end - begin;
}

// Backs what lies there with pages again. False: there is no memory.
bool Arena::fill_holes(std::uint64_t begin, std::uint64_t end) {
  begin = begin / kPageBytes * kPageBytes;
  end = whole_pages(end);
  auto hole = holes_.upper_bound(begin);
  if (hole != holes_.begin() && std::prev(hole)->second > begin) --hole;
  while (hole != holes_.end() && hole->first < end) {
    const auto [first, last] = *hole;
    const std::uint64_t from = std::max(first, begin);
    const std::uint64_t to = std::min(last, end);
    if (!back(from, to)) return false;
    in_holes_ -= to - from;
    hole = holes_.erase(hole);
    if (first < from) holes_.emplace(first, from);
    if (to < last) hole = holes_.emplace(to, last).first;
  }
  return true;
}

bool Arena::freeze(std::uint64_t offset, std::uint64_t size) noexcept {
  return map_anew(offset, size, MAP_PRIVATE | MAP_NORESERVE);
}

bool Arena::thaw(std::uint64_t offset, std::uint64_t size) noexcept {
  return map_anew(offset, size, MAP_SHARED);
}

bool Arena::map_anew(std::uint64_t offset, std::uint64_t size, int flags) noexcept {
  if (::mmap(at(offset), size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd_.get(),
             static_cast<off_t>(offset)) == MAP_FAILED) {
    return false;
  }
  // As all of the mapping; only then the kernel makes one of what lies side by side.
  ::madvise(at(offset), size, MADV_DONTDUMP);
  return true;
}

ArenaView::ArenaView(int fd, std::size_t size, OnFork on_fork)
    : mapping_(fd, whole_pages(size), Access::read_only, on_fork, OnCoreDump::exclude) {}

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/arena.hpp"

#include "ipc/check.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14; older headers lack it
#endif

namespace owngil::ipc {
namespace {

// fallocate costs a system call however little it is asked for: take some ahead, and more ahead
// where much is in use already.
constexpr std::uint64_t kSmallestStep = std::uint64_t{256} * 1024;
constexpr std::uint64_t kLargestStep = std::uint64_t{8} * 1024 * 1024;

std::uint64_t rounded_up(std::uint64_t n, std::uint64_t to) { return (n + to - 1) / to * to; }

std::size_t whole_pages(std::size_t size) { return rounded_up(size, kPageBytes); }

}  // namespace

Arena::Arena(const char* name, std::size_t size, OnFork on_fork)
    : Arena(create_memfd(name, whole_pages(size)), size, on_fork) {}

Arena::Arena(UniqueFd fd, std::size_t size, OnFork on_fork)
    : fd_(std::move(fd)),
      file_(file_id(fd_.get())),
      mapping_(fd_.get(), whole_pages(size), Access::read_write, on_fork),
      blocks_(whole_pages(size)) {}

std::optional<BlockRef> Arena::allocate(std::uint64_t size) {
  const std::optional<std::uint64_t> offset = blocks_.allocate(size);
  if (!offset) {
    return std::nullopt;
  }
  const std::uint64_t end = *offset + size;
  if (end > committed_ && !commit_up_to(end)) {
    blocks_.free(*offset);
    return std::nullopt;
  }
  return BlockRef{*offset, size};
}

bool Arena::has_its_file() const noexcept { return file_id(fd_.get()) == file_; }

bool Arena::commit_up_to(std::uint64_t end) {
  // Perhaps there is memory for just what is asked.
  const std::uint64_t least = rounded_up(end, kPageBytes);
  if (!has_its_file()) {
    if (!populate(committed_, least)) return false;
    committed_ = least;
    return true;
  }
  const std::uint64_t step =
      std::clamp(rounded_up(committed_ / 8, kSmallestStep), kSmallestStep, kLargestStep);
  const std::uint64_t ahead = std::min<std::uint64_t>(rounded_up(end, step), size());
  if (ipc::commit(fd_.get(), committed_, ahead - committed_)) {
    committed_ = ahead;
    return true;
  }
  if (ipc::commit(fd_.get(), committed_, least - committed_)) {
    committed_ = least;
    return true;
  }
  return false;
}

// The mapping is still there when the descriptor is not.
bool Arena::populate(std::uint64_t begin, std::uint64_t end) {
  return ::madvise(at(begin), end - begin, MADV_POPULATE_WRITE) == 0;
}

void Arena::trim(std::uint64_t keep) {
  const std::uint64_t end = rounded_up(std::max(blocks_.used_end(), keep), kSmallestStep);
  if (end < committed_ && has_its_file()) {
    decommit(fd_.get(), end, committed_ - end);
    committed_ = end;
  }
}

bool Arena::freeze(std::uint64_t offset, std::uint64_t size) noexcept {
  return ::mmap(at(offset), size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                fd_.get(), static_cast<off_t>(offset)) != MAP_FAILED;
}

bool Arena::thaw(std::uint64_t offset, std::uint64_t size) noexcept {
  return ::mmap(at(offset), size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_.get(),
                static_cast<off_t>(offset)) != MAP_FAILED;
}

ArenaView::ArenaView(int fd, std::size_t size, OnFork on_fork)
    : mapping_(fd, whole_pages(size), Access::read_only, on_fork) {}

}  // namespace owngil::ipc

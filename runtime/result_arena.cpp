// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/result_arena.hpp"

#include "ipc/memfd.hpp"

#include <pthread.h>

#include <utility>

namespace owngil::runtime {
namespace {

std::atomic<std::uint64_t> forks{0};

void count_fork() {
  forks.fetch_add(1, std::memory_order_relaxed);  // the fork itself orders it
}

// Both sides count: the child must not touch what its parent had, not even the locks.
void count_forks_once() {
  static const int done = ::pthread_atfork(nullptr, count_fork, count_fork);
  static_cast<void>(done);
}

std::uint64_t whole_pages(std::uint64_t size) {
  return (size + ipc::kPageBytes - 1) / ipc::kPageBytes * ipc::kPageBytes;
}

}  // namespace

ResultArena::ResultArena(int fd, std::size_t size) : view_(fd, size), fd_(fd) {
  count_forks_once();
}

void ResultArena::keep(ipc::UniqueFd fd) noexcept {
  const std::lock_guard lock(mutex_);
  owned_ = std::move(fd);
}

void ResultArena::release() noexcept {
  if (holds_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

std::uint64_t ResultArena::stamp() noexcept {
  return forks.load(std::memory_order_relaxed);  // of this process, as forks are
}

bool ResultArena::take_out(const std::vector<ipc::BlockRef>& blocks) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i != blocks.size(); ++i) {
    if (view_.checked(blocks[i]) != nullptr &&
        out_.emplace(blocks[i].offset, blocks[i].size).second)
      continue;
    while (i > 0) out_.erase(blocks[--i].offset);
    return false;
  }
  holds_.fetch_add(blocks.size(), std::memory_order_relaxed);  // the link's own keeps it meanwhile
  return true;
}

void ResultArena::let_go(ipc::BlockRef block, std::uint64_t made) noexcept {
  if (made == stamp()) {
    view_.forget_writes(block);
    const std::lock_guard lock(mutex_);
    out_.erase(block.offset);
    if (fd_ >= 0) {
      given_back_.push_back(block.offset);
      has_given_back_.store(true, std::memory_order_relaxed);
    }
  }
  release();
}

std::vector<std::uint64_t> ResultArena::take_given_back() {
  const std::lock_guard lock(mutex_);
  has_given_back_.store(false, std::memory_order_relaxed);
  return std::exchange(given_back_, {});
}

void ResultArena::lose_worker() noexcept {
  const std::lock_guard lock(mutex_);
  given_back_.clear();
  std::uint64_t begin = 0;  // of what nobody holds
  for (const auto& [offset, size] : out_) {
    if (offset > begin) ipc::decommit(fd_, begin, offset - begin);
    begin = offset + whole_pages(size);
  }
  ipc::decommit(fd_, begin, view_.size() - begin);
  view_.shrink(begin);
  fd_ = -1;
  owned_.reset();
}

}  // namespace owngil::runtime

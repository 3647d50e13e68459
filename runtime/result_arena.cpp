// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/result_arena.hpp"

#include "ipc/memfd.hpp"
#include "ipc/private_view.hpp"

#include <fcntl.h>
#include <pthread.h>

#include <exception>
#include <iterator>
#include <utility>

namespace owngil::runtime {
namespace {

std::atomic<std::uint64_t> forks{0};

void count_fork() {
  forks.fetch_add(1, std::memory_order_relaxed);  // the fork itself orders it
}

// All arenas of this process, to be found by what lies in them.
struct Arenas {
  std::mutex mutex;
  std::map<const std::byte*, ResultArena*> by_begin;
};

// Never freed: results may be let go of after everything else.
Arenas*& arenas() {
  static Arenas* of_this_process = new Arenas;
  return of_this_process;
}

// A thread that is no more may hold its parent's lock.
void begin_child() {
  count_fork();
  arenas() = new Arenas;
}

// Both sides count: the child must not touch what its parent had, not even the locks.
void count_forks_once() {
  static const int done = ::pthread_atfork(nullptr, count_fork, begin_child);
  static_cast<void>(done);
}

}  // namespace

// A result, or a part of one.
class ResultArena::Part final : public SharedBlock {
 public:
  Part(ResultArena& arena, std::uint64_t block, int fd, ipc::BlockRef range)
      : SharedBlock(fd, range), arena_(arena), block_(block) {}

 private:
  ~Part() override { arena_.drop(block_, true); }

  ResultArena& arena_;
  std::uint64_t block_;
};

ResultArena::ResultArena(int fd, std::size_t size) : view_(fd, size), fd_(fd) {
  count_forks_once();
  Arenas& all = *arenas();
  const std::lock_guard lock(all.mutex);
  all.by_begin.emplace(view_.data(), this);
}

void ResultArena::keep(ipc::UniqueFd fd) noexcept {
  const std::lock_guard lock(mutex_);
  owned_ = std::move(fd);
}

void ResultArena::release() noexcept {
  if (holds_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  {
    Arenas& all = *arenas();
    const std::lock_guard lock(all.mutex);
    all.by_begin.erase(view_.data());
  }
  delete this;
}

std::uint64_t ResultArena::stamp() noexcept {
  return forks.load(std::memory_order_relaxed);  // of this process, as forks are
}

bool ResultArena::take_out(const std::vector<ipc::BlockRef>& blocks) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i != blocks.size(); ++i) {
    if (view_.checked(blocks[i]) != nullptr && !overlaps(blocks[i])) {
      out_.emplace(blocks[i].offset, Out{blocks[i].size});
      continue;
    }
    while (i > 0) out_.erase(blocks[--i].offset);
    return false;
  }
  holds_.fetch_add(blocks.size(), std::memory_order_relaxed);  // the link's own keeps it meanwhile
  return true;
}

// Whether pages of it are out already.
bool ResultArena::overlaps(ipc::BlockRef block) const {
  const auto next = out_.lower_bound(block.offset);
  if (next != out_.end() && next->first - block.offset < block.size) return true;
  if (next == out_.begin()) return false;
  const auto& [offset, before] = *std::prev(next);
  return block.offset - offset < ipc::whole_pages(before.size);
}

void ResultArena::let_go(ipc::BlockRef block, std::uint64_t made) noexcept {
  if (made == stamp()) {
    view_.forget_writes(block);
    drop(block.offset, false);
  } else {
    release();
  }
}

void ResultArena::drop(std::uint64_t offset, bool is_part) noexcept {
  {
    const std::lock_guard lock(mutex_);
    const auto found = out_.find(offset);
    if (--found->second.holds == 0) {
      const std::uint64_t size = ipc::whole_pages(found->second.size);
      out_.erase(found);
      if (fd_ >= 0) {
        given_back_.push_back(offset);
        has_given_back_.store(true, std::memory_order_relaxed);
      } else if (shared_) {
        // Other workers may have it mapped, so that it would not go with the arena.
        ipc::decommit(shared_.get(), offset, size);
      }
    }
    if (is_part && --parts_ == 0) shared_.reset();
  }
  release();
}

SharedBlock* ResultArena::freeze(const void* data, std::size_t size) {
  const auto* const begin = static_cast<const std::byte*>(data);
  Arenas& all = *arenas();
  const std::lock_guard lock(all.mutex);
  auto found = all.by_begin.upper_bound(begin);
  if (found == all.by_begin.begin()) return nullptr;
  return (--found)->second->freeze_part(begin, size);
}

SharedBlock* ResultArena::freeze_part(const std::byte* data, std::size_t size) {
  const auto offset = static_cast<std::uint64_t>(data - view_.data());
  std::uint64_t block = 0;
  int fd = -1;
  {
    const std::lock_guard lock(mutex_);
    auto found = out_.upper_bound(offset);
    if (found == out_.begin()) return nullptr;
    --found;
    if (offset + size > found->first + found->second.size || ipc::has_own_pages(data, size)) {
      return nullptr;
    }
    if (!shared_ && fd_ >= 0) shared_.reset(::fcntl(fd_, F_DUPFD_CLOEXEC, 0));
    if (!shared_) return nullptr;
    fd = shared_.get();
    block = found->first;
    ++found->second.holds;
    ++parts_;
    holds_.fetch_add(1, std::memory_order_relaxed);  // the block's own keeps it meanwhile
  }
  try {
    return new Part(*this, block, fd, {offset, size});
  } catch (const std::exception&) {
    drop(block, true);
    return nullptr;
  }
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
  for (const auto& [offset, block] : out_) {
    if (offset > begin) ipc::decommit(fd_, begin, offset - begin);
    begin = offset + ipc::whole_pages(block.size);
  }
  ipc::decommit(fd_, begin, view_.size() - begin);
  view_.shrink(begin);
  fd_ = -1;
  owned_.reset();
}

}  // namespace owngil::runtime

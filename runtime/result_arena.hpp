// SPDX-License-Identifier: BSD-3-Clause
// The large buffers that one worker has returned, for as long as the user holds one of them.
//
// A result's buffers are not copied: the user's objects lie over the worker's own arena, mapped so
// that what the user writes stays in this process (ipc::PrivateView). A block is `out` from the
// moment that its result is accepted until whoever has it lets go of it; the worker, if it still
// lives, then gets it back through its release ring, and until then writes to it no more.
// Threads: any. Processes: the user's; the arena is the worker's.
// What the user shares of it again is frozen: tasks see what the worker returned, and what the user
// writes from then on is, as ever, the user's own.
// Lifetime: counted. The link holds it, and each block that is out does. So it outlives worker and
//   pool; once the worker is gone only the blocks that are out keep memory.
// Not: proof against a worker that lives and scribbles over its own arena.
// Invariants:
//   U1  A block that was out when this process forked is never given back: the child may look at it.
#pragma once

#include "ipc/buffer_owner.hpp"
#include "ipc/layout.hpp"
#include "ipc/private_view.hpp"
#include "ipc/unique_fd.hpp"
#include "runtime/shared_block.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace owngil::runtime {

class ResultArena final : public ipc::BufferOwner {
 public:
  // Maps it; the caller holds it, and the descriptor stays open until keep() or lose_worker().
  // Throws std::system_error.
  ResultArena(int fd, std::size_t size);
  ResultArena(const ResultArena&) = delete;
  ResultArena& operator=(const ResultArena&) = delete;

  void release() noexcept;  // the link's hold

  // From now on these are out. False: one of them cannot be, as another that is out lies there, and
  // none is.
  [[nodiscard]] bool take_out(const std::vector<ipc::BlockRef>& blocks);
  // Requires: it is out.
  [[nodiscard]] std::byte* at(ipc::BlockRef block) const noexcept { return view_.at(block); }

  // Of a buffer made now: how often this process had forked.
  [[nodiscard]] static std::uint64_t stamp() noexcept;
  void let_go(ipc::BlockRef block, std::uint64_t stamp) noexcept override;
  // One that nobody could write to.
  void let_go(ipc::BlockRef block) noexcept { drop(block.offset, false); }

  // A hold on what lies there in whichever of them it is. nullptr: in none, or the user has written
  // to it, or its worker is gone.
  [[nodiscard]] static SharedBlock* freeze(const void* data, std::size_t size);

  // What the worker is to get back.
  [[nodiscard]] bool has_given_back() const noexcept {
    return has_given_back_.load(std::memory_order_relaxed);  // seen late is soon enough
  }
  [[nodiscard]] std::vector<std::uint64_t> take_given_back();

  // The link ends before the worker's process does: its descriptor is this one's from now on.
  void keep(ipc::UniqueFd fd) noexcept;
  // The worker's process is gone: memory that nobody holds goes back to the system.
  void lose_worker() noexcept;

 private:
  class Part;
  struct Out {
    std::uint64_t size;
    std::uint32_t holds = 1;  // of the user, and of what is frozen of it
  };

  ~ResultArena() = default;
  [[nodiscard]] bool overlaps(ipc::BlockRef block) const;
  [[nodiscard]] SharedBlock* freeze_part(const std::byte* data, std::size_t size);
  void drop(std::uint64_t offset, bool is_part) noexcept;

  // immutable after construction, but for its size
  ipc::PrivateView view_;
  // atomic
  std::atomic<std::uint64_t> holds_{1};
  std::atomic<bool> has_given_back_{false};
  // guarded by mutex_
  std::mutex mutex_;
  std::map<std::uint64_t, Out> out_;  // by offset
  std::vector<std::uint64_t> given_back_;
  int fd_;                // as long as there is a worker; then -1
  ipc::UniqueFd owned_;   // the same, once the link has left it here
  ipc::UniqueFd shared_;  // by which workers find what is frozen, while something is
  std::uint64_t parts_ = 0;
};

}  // namespace owngil::runtime

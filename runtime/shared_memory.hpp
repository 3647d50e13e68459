// SPDX-License-Identifier: BSD-3-Clause
// Memory of the user's process that the tasks of all its pools can be given to read: what was
// copied here to be shared, and what the user has made in place.
//
// The user writes to a block that was made in place until it, or a part of it, is frozen: from then
// on those pages are mapped copy on write, so that tasks see what was there, and what the user
// writes is the user's own.
// Threads: any. Processes: one of them writes; workers map shared blocks by their place.
// Lifetime: as long as the process: the user's objects lie over it.
// Not: a pool's. Not: of use in a child of fork, which sees what is there and makes its own.
// Invariants:
//   S1  A block is free when neither the user's object nor a shared block holds it.
#pragma once

#include "ipc/arena.hpp"
#include "ipc/buffer_owner.hpp"
#include "ipc/layout.hpp"
#include "runtime/shared_block.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>

namespace owngil::runtime {

class SharedMemory final : public ipc::BufferOwner {
 public:
  // `size`: address space. Throws std::system_error.
  explicit SharedMemory(std::size_t size);
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  // A block for the user to fill, until let_go(block, stamp()); what it holds is anybody's guess.
  // Nothing: there is no memory. Requires: size > 0.
  [[nodiscard]] std::optional<ipc::BlockRef> make(std::uint64_t size);
  [[nodiscard]] std::byte* at(ipc::BlockRef block) const noexcept {
    return arena_.at(block.offset);
  }
  [[nodiscard]] std::uint64_t stamp() const noexcept { return pid_; }
  void let_go(ipc::BlockRef block, std::uint64_t stamp) noexcept override;

  // These return a hold. Freezes what the user has made there; nullptr: it is not of here, or what
  // the user sees there is not what tasks would. Copies; nullptr: there is no memory.
  [[nodiscard]] SharedBlock* freeze(const void* data, std::size_t size);
  [[nodiscard]] SharedBlock* put(const void* data, std::size_t size);

  [[nodiscard]] std::uint64_t in_use();
  [[nodiscard]] std::uint64_t size() const noexcept { return arena_.size(); }

 private:
  class Part;
  struct Block {
    std::uint64_t size;
    std::uint32_t holds = 1;
    bool is_frozen = false;  // some of its pages
  };

  [[nodiscard]] SharedBlock* share(std::uint64_t block, ipc::BlockRef range);
  void drop(std::uint64_t offset, bool by_user) noexcept;

  // immutable after construction
  std::uint64_t pid_;
  // guarded by mutex_
  std::mutex mutex_;
  ipc::Arena arena_;
  std::map<std::uint64_t, Block> blocks_;  // by offset
};

}  // namespace owngil::runtime

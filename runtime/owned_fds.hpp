// SPDX-License-Identifier: BSD-3-Clause
// The descriptors that a child of the user's fork() has to close, readable without a lock.
//
// Threads: add and remove under their owner's mutex; close_all in a forked child, where whoever
//   held that mutex no longer exists.
// Lifetime: longer than every OwnedFd in it.
// Not: exact. A descriptor that was being made or closed during the fork may stay open in the
//   child; the guardian watches a pidfd for that reason.
#pragma once

#include "ipc/unique_fd.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <memory>
#include <utility>

namespace owngil::runtime {

class OwnedFds {
 public:
  using Slot = std::atomic<int>;

  OwnedFds() = default;
  OwnedFds(const OwnedFds&) = delete;
  OwnedFds& operator=(const OwnedFds&) = delete;
  ~OwnedFds() {
    for (Block* block = first_.next.load(std::memory_order_relaxed); block != nullptr;) {
      delete std::exchange(block, block->next.load(std::memory_order_relaxed));
    }
  }

  Slot& add(int fd) {
    for (Block* block = &first_;; block = block->next.load(std::memory_order_relaxed)) {
      for (Slot& slot : block->slots) {
        // Relaxed, here and below: a forked child has one thread and a copy of this memory.
        if (slot.load(std::memory_order_relaxed) < 0) {
          slot.store(fd, std::memory_order_relaxed);
          return slot;
        }
      }
      if (block->next.load(std::memory_order_relaxed) == nullptr) {
        block->next.store(new Block, std::memory_order_release);  // pairs with: close_all
      }
    }
  }

  void close_all() noexcept {
    for (Block* block = &first_; block != nullptr;
         block = block->next.load(std::memory_order_acquire)) {  // pairs with: add
      for (Slot& slot : block->slots) {
        const int fd = slot.exchange(-1, std::memory_order_relaxed);
        if (fd >= 0) ::close(fd);
      }
    }
  }

 private:
  struct Block {
    Block() {
      for (Slot& slot : slots) slot.store(-1, std::memory_order_relaxed);
    }
    std::array<Slot, 62> slots;
    std::atomic<Block*> next{nullptr};
  };

  Block first_;
};

// A UniqueFd that stands in the list for as long as it is open.
class OwnedFd {
 public:
  OwnedFd() noexcept = default;
  OwnedFd(OwnedFds& all, ipc::UniqueFd fd) : slot_(&all.add(fd.get())), fd_(std::move(fd)) {}
  OwnedFd(OwnedFd&& other) noexcept
      : slot_(std::exchange(other.slot_, nullptr)), fd_(std::move(other.fd_)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    reset();
    slot_ = std::exchange(other.slot_, nullptr);
    fd_ = std::move(other.fd_);
    return *this;
  }
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  ~OwnedFd() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_.get(); }
  explicit operator bool() const noexcept { return static_cast<bool>(fd_); }

  void reset() noexcept {
    // First out of the list: its number may be another's as soon as it is closed.
    if (slot_ != nullptr) {
      std::exchange(slot_, nullptr)->store(-1, std::memory_order_relaxed);
    }
    fd_.reset();
  }

 private:
  OwnedFds::Slot* slot_ = nullptr;
  ipc::UniqueFd fd_;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// Blocks for results, out of the worker's own arena; takes back those that the reader released.
//
// Threads: the worker's loop alone.
// Lifetime: borrows arena and channel.
// Not: a wait. If there is no block now, there is none.
#pragma once

#include "ipc/arena.hpp"
#include "ipc/channel.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace owngil::workers {

class ResultMemory {
 public:
  ResultMemory(ipc::Arena& arena, ipc::WorkerEnd& channel) : arena_(arena), channel_(channel) {}

  [[nodiscard]] std::optional<ipc::BlockRef> allocate(std::uint64_t size) {
    take_back_released();
    return arena_.allocate(size);
  }
  [[nodiscard]] std::byte* at(std::uint64_t offset) const { return arena_.at(offset); }
  // A block that nobody was told of.
  void free(std::uint64_t offset) { arena_.free(offset); }

  // Memory that is kept though nothing needs it: worth giving back after a while of idleness.
  [[nodiscard]] bool has_spare() const {
    return arena_.committed() > arena_.in_use() + kKeptWhenIdle;
  }
  void give_spare_back() {
    take_back_released();
    arena_.trim(kKeptWhenIdle);
  }

  [[nodiscard]] std::uint64_t in_use() const { return arena_.in_use(); }
  [[nodiscard]] std::uint64_t size() const { return arena_.size(); }

 private:
  static constexpr std::uint64_t kKeptWhenIdle = std::uint64_t{64} << 20;

  void take_back_released() {
    while (const std::optional<std::uint64_t> offset = channel_.pop_release()) {
      arena_.free(*offset);
    }
  }

  ipc::Arena& arena_;
  ipc::WorkerEnd& channel_;
};

}  // namespace owngil::workers

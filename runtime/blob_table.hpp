// SPDX-License-Identifier: BSD-3-Clause
// Numbered bytes that workers keep a copy of: functions and contexts.
//
// Threads: guarded by the supervisor's mutex.
// Lifetime: a blob's bytes stay in the argument arena until it was dropped and no pending task
//   names it; its number is never used again.
// Not: what a worker knows. Each WorkerLink remembers the numbers that it was sent.
#pragma once

#include "ipc/arena.hpp"
#include "ipc/layout.hpp"

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace owngil::runtime {

// Why workers of the first choice cannot run a function: text, or what it has raised.
struct Unfitness {
  ipc::Format format;  // none: text
  std::vector<std::byte> bytes;
};

class BlobTable {
 public:
  explicit BlobTable(ipc::Arena& arena) : arena_(arena) {}

  // Nothing: no memory. `name` is for people.
  std::optional<std::uint32_t> add(std::span<const std::byte> bytes, std::string name) {
    const auto block = arena_.allocate(bytes.size());
    if (!block) return std::nullopt;
    if (!bytes.empty()) std::memcpy(arena_.at(block->offset), bytes.data(), bytes.size());
    blobs_.emplace(++last_, Blob{{block->offset, bytes.size()}, std::move(name), 0, false, {}});
    return last_;
  }

  ipc::BlockRef find(std::uint32_t number) const { return blobs_.at(number).block; }
  const std::string& name(std::uint32_t number) const { return blobs_.at(number).name; }

  // Why a function runs in workers of the fallback from now on; nullptr: it does not.
  const Unfitness* unfitness(std::uint32_t number) const {
    const auto found = blobs_.find(number);
    return found != blobs_.end() && found->second.unfit ? &*found->second.unfit : nullptr;
  }
  void set_unfit(std::uint32_t number, Unfitness why) {
    std::optional<Unfitness>& known = blobs_.at(number).unfit;
    if (!known) known = std::move(why);
  }

  void use(std::uint32_t number) {
    if (number != 0) ++blobs_.at(number).uses;
  }

  // Both return true when the number is gone now, so that workers can forget it.
  [[nodiscard]] bool done_with(std::uint32_t number) {
    if (number == 0) return false;
    Blob& blob = blobs_.at(number);
    --blob.uses;
    return erase_if_unused(number, blob);
  }

  [[nodiscard]] bool drop(std::uint32_t number) {
    const auto found = blobs_.find(number);
    if (found == blobs_.end()) return false;
    found->second.dropped = true;
    return erase_if_unused(number, found->second);
  }

 private:
  struct Blob {
    ipc::BlockRef block;
    std::string name;
    std::uint64_t uses;  // pending tasks that name it
    bool dropped;        // nobody will name it again
    std::optional<Unfitness> unfit;
  };

  bool erase_if_unused(std::uint32_t number, const Blob& blob) {
    if (!blob.dropped || blob.uses > 0) return false;
    arena_.free(blob.block.offset);
    blobs_.erase(number);
    return true;
  }

  ipc::Arena& arena_;
  std::unordered_map<std::uint32_t, Blob> blobs_;
  std::uint32_t last_ = 0;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// How often each block is held, and by that whether anybody holds it still.
//
// Threads: guarded by the supervisor's mutex.
// Lifetime: a plain object.
// Not: the memory. Who drops the last hold frees the block.
#pragma once

#include <cstdint>
#include <unordered_map>

namespace owngil::runtime {

class BlockHolds {
 public:
  enum class Dropped { one, last, none };  // none: it was not held

  void add(std::uint64_t offset) { ++holds_[offset]; }
  Dropped drop(std::uint64_t offset) {
    const auto found = holds_.find(offset);
    if (found == holds_.end()) return Dropped::none;
    if (--found->second > 0) return Dropped::one;
    holds_.erase(found);
    return Dropped::last;
  }

  bool empty() const { return holds_.empty(); }

  // Calls visit(offset) once for each block.
  template <class Visit>
  void each(Visit&& visit) const {
    for (const auto& [offset, count] : holds_) visit(offset);
  }

  // Calls drop_one(offset) once for each hold; there are none afterwards.
  template <class DropOne>
  void drop_all(DropOne&& drop_one) {
    for (const auto& [offset, count] : holds_) {
      for (std::uint32_t i = 0; i != count; ++i) drop_one(offset);
    }
    holds_.clear();
  }

 private:
  std::unordered_map<std::uint64_t, std::uint32_t> holds_;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// Which objects an encoding has met, and where it put them: a list while they are few, then a
// hash table by address.
//
// Threads: one at a time.
// Lifetime: borrows the objects; they must outlive it, or an address could come back.
// Not: initialised, so that a value pays for what it shares and no more.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace owngil::workers {

class IdentityMemo {
 public:
  IdentityMemo() noexcept = default;
  IdentityMemo(const IdentityMemo&) = delete;
  IdentityMemo& operator=(const IdentityMemo&) = delete;
  ~IdentityMemo() { std::free(table_); }

  enum class Met { first_time, before, no_memory };

  // `place` is stored when the object is met for the first time, and set when it was before.
  [[nodiscard]] Met meet(const void* object, std::uint32_t& place) noexcept {
    if (table_ != nullptr) return meet_in_table(object, place);
    for (std::size_t i = 0; i != count_; ++i) {
      if (few_[i].object != object) continue;
      place = few_[i].place;
      return Met::before;
    }
    if (count_ == kFew) return grow() ? meet_in_table(object, place) : Met::no_memory;
    few_[count_++] = {object, place};
    return Met::first_time;
  }

 private:
  struct Entry {
    const void* object;  // nullptr: empty
    std::uint32_t place;
  };
  static constexpr std::size_t kFew = 12;
  static constexpr std::size_t kFirstTable = 64;  // a power of two

  [[nodiscard]] Met meet_in_table(const void* object, std::uint32_t& place) noexcept;
  [[nodiscard]] Entry& find(const void* object) noexcept;
  [[nodiscard]] bool grow() noexcept;

  std::size_t count_ = 0;
  Entry* table_ = nullptr;
  std::size_t mask_ = 0;  // of the table
  std::array<Entry, kFew> few_;
};

}  // namespace owngil::workers

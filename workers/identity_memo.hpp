// SPDX-License-Identifier: BSD-3-Clause
// Which objects an encoding has met, and where it put them: a small hash table by address.
//
// Threads: one at a time.
// Lifetime: borrows the objects; they must outlive it, or an address could come back.
// Not: initialised before its first use, so that values without shared parts pay nothing.
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
  ~IdentityMemo() {
    if (heap_ != nullptr) std::free(heap_);
  }

  enum class Met { first_time, before, no_memory };

  // `place` is stored when the object is met for the first time, and set when it was before.
  [[nodiscard]] Met meet(const void* object, std::uint32_t& place) noexcept;

 private:
  struct Entry {
    const void* object;  // nullptr: empty
    std::uint32_t place;
  };
  static constexpr std::size_t kInlineEntries = 32;  // a power of two; cleared at first use

  [[nodiscard]] Entry& find(const void* object) noexcept;
  [[nodiscard]] bool grow() noexcept;

  Entry* entries_ = nullptr;  // inline_, then heap_
  Entry* heap_ = nullptr;
  std::size_t mask_ = 0;
  std::size_t count_ = 0;
  std::array<Entry, kInlineEntries> inline_;
};

}  // namespace owngil::workers

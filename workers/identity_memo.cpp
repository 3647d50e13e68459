// SPDX-License-Identifier: BSD-3-Clause
#include "workers/identity_memo.hpp"

#include <cstdlib>
#include <span>

namespace owngil::workers {

IdentityMemo::Entry& IdentityMemo::find(const void* object) noexcept {
  // Objects are 16-byte aligned; the multiplier spreads the rest over the upper bits.
  const auto address = reinterpret_cast<std::uintptr_t>(object);
  std::size_t at = static_cast<std::size_t>(((address >> 4) * 0x9E37'79B9'7F4A'7C15ULL) >> 40);
  for (;; ++at) {
    Entry& entry = table_[at & mask_];
    if (entry.object == object || entry.object == nullptr) return entry;
  }
}

IdentityMemo::Met IdentityMemo::meet_in_table(const void* object, std::uint32_t& place) noexcept {
  Entry* entry = &find(object);
  if (entry->object != nullptr) {
    place = entry->place;
    return Met::before;
  }
  if (count_ >= mask_ / 4 * 3) {
    if (!grow()) return Met::no_memory;
    entry = &find(object);
  }
  *entry = {object, place};
  ++count_;
  return Met::first_time;
}

bool IdentityMemo::grow() noexcept {
  Entry* const old = table_;
  const std::span<const Entry> entries =
      old != nullptr ? std::span<const Entry>(old, mask_ + 1) : std::span<const Entry>(few_);
  const std::size_t size = old != nullptr ? entries.size() * 4 : kFirstTable;
  auto* const grown = static_cast<Entry*>(std::calloc(size, sizeof(Entry)));
  if (grown == nullptr) return false;
  table_ = grown;
  mask_ = size - 1;
  for (const Entry& entry : entries) {
    if (entry.object != nullptr) find(entry.object) = entry;
  }
  std::free(old);
  return true;
}

}  // namespace owngil::workers

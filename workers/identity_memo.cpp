// SPDX-License-Identifier: BSD-3-Clause
#include "workers/identity_memo.hpp"

#include <cstdlib>

namespace owngil::workers {

IdentityMemo::Entry& IdentityMemo::find(const void* object) noexcept {
  // Objects are 16-byte aligned; the multiplier spreads the rest over the upper bits.
  const auto address = reinterpret_cast<std::uintptr_t>(object);
  std::size_t at = static_cast<std::size_t>(((address >> 4) * 0x9E37'79B9'7F4A'7C15ULL) >> 40);
  for (;; ++at) {
    Entry& entry = entries_[at & mask_];
    if (entry.object == object || entry.object == nullptr) return entry;
  }
}

IdentityMemo::Met IdentityMemo::meet(const void* object, std::uint32_t& place) noexcept {
  if (entries_ == nullptr) {
    entries_ = inline_.data();
    mask_ = kInlineEntries - 1;
    for (Entry& entry : inline_) entry.object = nullptr;
  }
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
  const std::size_t old_size = mask_ + 1;
  auto* const grown = static_cast<Entry*>(std::calloc(old_size * 4, sizeof(Entry)));
  if (grown == nullptr) return false;
  const Entry* const old = entries_;
  entries_ = grown;
  mask_ = old_size * 4 - 1;
  for (std::size_t i = 0; i != old_size; ++i) {
    if (old[i].object != nullptr) find(old[i].object) = old[i];
  }
  std::free(heap_);
  heap_ = grown;
  return true;
}

}  // namespace owngil::workers

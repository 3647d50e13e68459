// SPDX-License-Identifier: BSD-3-Clause
// The items of a chunk as they stand in memory: a head, the item's bytes, the next item.
//
// Most are small, plain and succeed: their head is one byte. Nothing is aligned.
// Lifetime: none. An Item owns nothing; it says how much stands where.
// Not: the chain of blocks that results lie in; a ChainHeader opens each of those.
#pragma once

#include "ipc/layout.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace owngil::ipc {

inline constexpr std::size_t kLongestShortItem = static_cast<std::size_t>(ItemMark::longest_short);
inline constexpr std::size_t kShortHead = 1;
inline constexpr std::size_t kLongHead = 1 + sizeof(ItemHeader);

struct Item {
  std::size_t head;  // bytes before its own
  std::size_t size;  // of its own bytes
  Format format;
  Status status;
  std::uint16_t flags;  // ResultFlag

  [[nodiscard]] std::size_t end() const noexcept { return head + size; }
};

[[nodiscard]] inline bool is_marked(std::byte first, ItemMark mark) noexcept {
  return first == static_cast<std::byte>(mark);
}

// The item at the beginning of `bytes`; nothing: none that lies wholly within them.
[[nodiscard]] inline std::optional<Item> read_item(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return std::nullopt;
  const auto first = static_cast<std::uint8_t>(bytes[0]);
  Item item{kShortHead, first, Format::tagged, Status::returned, 0};
  if (first > kLongestShortItem) [[unlikely]] {
    if (is_marked(bytes[0], ItemMark::untold)) {
      return Item{kShortHead, 0, Format::none, Status::raised, 0};
    }
    if (!is_marked(bytes[0], ItemMark::header) || bytes.size() < kLongHead) return std::nullopt;
    ItemHeader header;
    std::memcpy(&header, bytes.data() + 1, sizeof header);
    item = {kLongHead, header.size, header.format, header.status, header.flags};
  }
  if (item.size > bytes.size() - item.head) return std::nullopt;
  return item;
}

// How many bytes its head takes.
[[nodiscard]] inline std::size_t item_head(std::size_t size, Format format,
                                           Status status) noexcept {
  const bool is_short =
      size <= kLongestShortItem && format == Format::tagged && status == Status::returned;
  return is_short ? kShortHead : kLongHead;
}

// Writes the head; returns where the item's bytes go. Requires: size fits 32 bits; what has
// returned has no flags.
inline std::byte* put_item_head(std::byte* at, std::size_t size, Format format, Status status,
                                std::uint16_t flags = 0) noexcept {
  if (item_head(size, format, status) == kShortHead) {
    *at = static_cast<std::byte>(size);
    return at + kShortHead;
  }
  const ItemHeader header{static_cast<std::uint32_t>(size), format, status, flags};
  *at = static_cast<std::byte>(ItemMark::header);
  std::memcpy(at + 1, &header, sizeof header);
  return at + kLongHead;
}

}  // namespace owngil::ipc

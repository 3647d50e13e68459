// SPDX-License-Identifier: BSD-3-Clause
// The payload of Format::buffers: which blocks hold the large buffers, then the pickle that goes
// without them. The same in both directions, and in an item of a chunk.
//
//   count 4 | flags 4 | count times: offset 8, size 8 | pickle
//
// Lifetime: none. A BufferList owns nothing; it says what stands where.
// Not: a judge of the references; whoever has the arena checks them.
#pragma once

#include "ipc/layout.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace owngil::ipc {

// From this size on a buffer gets a block of its own: pages that nothing else lies on.
inline constexpr std::size_t kLeastBuffer = std::size_t{64} * 1024;

// Blocks begin at multiples of 64: the lowest bit of an offset says that the block is shared, so
// that its worker has nothing to forget of it.
inline constexpr std::uint64_t kShared = 1;

enum BufferListFlag : std::uint32_t {
  kDirect = 1,  // the pickle names objects that pickle would have copied (owngil._direct)
};

struct BufferListHead {
  std::uint32_t count;
  std::uint32_t flags;  // BufferListFlag
};

class BufferList {
 public:
  // Nothing: these bytes are none.
  [[nodiscard]] static std::optional<BufferList> read(std::span<const std::byte> bytes) noexcept {
    BufferListHead head;
    if (bytes.size() < sizeof head) return std::nullopt;
    std::memcpy(&head, bytes.data(), sizeof head);
    const std::size_t rest = bytes.size() - sizeof head;
    if (head.count > rest / sizeof(BlockRef)) return std::nullopt;
    return BufferList(head, bytes.subspan(sizeof head));
  }

  [[nodiscard]] std::uint32_t size() const noexcept { return head_.count; }
  [[nodiscard]] bool has_direct() const noexcept { return (head_.flags & kDirect) != 0; }
  // Requires: i < size(). Size 0: it was taken out.
  [[nodiscard]] BlockRef operator[](std::uint32_t i) const noexcept {
    BlockRef ref;
    std::memcpy(&ref, rest_.data() + i * sizeof ref, sizeof ref);
    return ref;
  }
  [[nodiscard]] std::span<const std::byte> pickle() const noexcept {
    return rest_.subspan(head_.count * sizeof(BlockRef));
  }

 private:
  BufferList(BufferListHead head, std::span<const std::byte> rest) noexcept
      : head_(head), rest_(rest) {}

  BufferListHead head_;
  std::span<const std::byte> rest_;
};

// Takes a reference out of a list that is the caller's own: nobody finds it there again.
inline void take_out_buffer(std::byte* list, std::uint32_t i) noexcept {
  std::memset(list + sizeof(BufferListHead) + i * sizeof(BlockRef), 0, sizeof(BlockRef));
}

}  // namespace owngil::ipc

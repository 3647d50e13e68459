// SPDX-License-Identifier: BSD-3-Clause
// The payload of Format::buffers: which blocks hold the large buffers, then the bytes that go
// without them, a pickle or tagged. The same in both directions, and in an item of a chunk.
//
//   count 4 | flags 4 | shared 4 | count times: offset 8, size 8 | shared times: place 32 | rest
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

// In place of an offset, with a number: no block of the arena, but shared memory, which has that
// number for as long as the user's process lives. Where it lies is told behind the references.
inline constexpr std::uint64_t kShared = std::uint64_t{1} << 63;

// Where shared memory lies: in a file that the user's process has open as `fd`.
struct SharedPlace {
  std::uint64_t device;
  std::uint64_t inode;
  std::uint64_t offset;
  std::uint32_t pid;
  std::uint32_t fd;
};

enum BufferListFlag : std::uint32_t {
  kDirect = 1,  // the pickle names objects that pickle would have copied (owngil._direct)
  kTagged = 2,  // it is no pickle: workers/codec.hpp
};

struct BufferListHead {
  std::uint32_t count;
  std::uint32_t flags;   // BufferListFlag
  std::uint32_t shared;  // so many of them are shared
};

class BufferList {
 public:
  // Nothing: these bytes are none.
  [[nodiscard]] static std::optional<BufferList> read(std::span<const std::byte> bytes) noexcept {
    BufferListHead head;
    if (bytes.size() < sizeof head) return std::nullopt;
    std::memcpy(&head, bytes.data(), sizeof head);
    const std::size_t rest = bytes.size() - sizeof head;
    if (head.count > rest / sizeof(BlockRef) || head.shared > head.count ||
        head.shared > (rest - head.count * sizeof(BlockRef)) / sizeof(SharedPlace)) {
      return std::nullopt;
    }
    return BufferList(head, bytes.subspan(sizeof head));
  }

  [[nodiscard]] std::uint32_t size() const noexcept { return head_.count; }
  [[nodiscard]] bool has_direct() const noexcept { return (head_.flags & kDirect) != 0; }
  [[nodiscard]] bool is_tagged() const noexcept { return (head_.flags & kTagged) != 0; }
  // Requires: i < size(). Size 0: it was taken out.
  [[nodiscard]] BlockRef operator[](std::uint32_t i) const noexcept {
    BlockRef ref;
    std::memcpy(&ref, after_head_.data() + i * sizeof ref, sizeof ref);
    return ref;
  }
  [[nodiscard]] std::uint32_t shared() const noexcept { return head_.shared; }
  // Of the references that are shared, in their order. Requires: i < shared().
  [[nodiscard]] SharedPlace place(std::uint32_t i) const noexcept {
    SharedPlace place;
    std::memcpy(&place, after_head_.data() + head_.count * sizeof(BlockRef) + i * sizeof place,
                sizeof place);
    return place;
  }
  // What goes without the buffers.
  [[nodiscard]] std::span<const std::byte> rest() const noexcept {
    return after_head_.subspan(head_.count * sizeof(BlockRef) + head_.shared * sizeof(SharedPlace));
  }

 private:
  BufferList(BufferListHead head, std::span<const std::byte> after_head) noexcept
      : head_(head), after_head_(after_head) {}

  BufferListHead head_;
  std::span<const std::byte> after_head_;
};

// Takes a reference out of a list that is the caller's own: nobody finds it there again.
inline void take_out_buffer(std::byte* list, std::uint32_t i) noexcept {
  std::memset(list + sizeof(BufferListHead) + i * sizeof(BlockRef), 0, sizeof(BlockRef));
}

}  // namespace owngil::ipc

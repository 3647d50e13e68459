// SPDX-License-Identifier: BSD-3-Clause
// Bytes that grow at the end, the first few hundred of them without the heap.
//
// Threads: one at a time.
// Lifetime: pointers into it hold until the next call that may grow it.
// Not: a container of anything else; and it never throws, it reports lack of memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <span>

namespace owngil::workers {

class ByteBuffer {
 public:
  static constexpr std::size_t kInlineBytes = 512;

  ByteBuffer() noexcept = default;
  ByteBuffer(const ByteBuffer&) = delete;
  ByteBuffer& operator=(const ByteBuffer&) = delete;
  ~ByteBuffer() { std::free(heap_); }

  [[nodiscard]] std::byte* data() noexcept { return begin_; }
  [[nodiscard]] const std::byte* data() const noexcept { return begin_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {begin_, size_}; }

  // Makes room for `extra` bytes after the present end; false: no memory, nothing changed.
  [[nodiscard]] bool reserve(std::size_t extra) noexcept {
    return capacity_ - size_ >= extra || grow(extra);
  }

  // Adds `extra` bytes, not initialised, and returns the first of them; nullptr: no memory.
  [[nodiscard]] std::byte* extend(std::size_t extra) noexcept {
    if (!reserve(extra)) return nullptr;
    std::byte* const added = begin_ + size_;
    size_ += extra;
    return added;
  }

  [[nodiscard]] bool append(const void* source, std::size_t size) noexcept {
    std::byte* const added = extend(size);
    if (added == nullptr) return false;
    if (size != 0) std::memcpy(added, source, size);
    return true;
  }

  // Requires: size <= capacity, which reserve() has provided.
  void set_size(std::size_t size) noexcept { size_ = size; }
  void clear() noexcept { size_ = 0; }

 private:
  bool grow(std::size_t extra) noexcept {
    if (extra > static_cast<std::size_t>(-1) / 4 || size_ > static_cast<std::size_t>(-1) / 4) {
      return false;
    }
    std::size_t wanted = capacity_ * 2;
    if (wanted < size_ + extra) wanted = size_ + extra;
    auto* const grown = static_cast<std::byte*>(std::realloc(heap_, wanted));
    if (grown == nullptr) return false;
    if (heap_ == nullptr) std::memcpy(grown, begin_, size_);
    heap_ = grown;
    begin_ = grown;
    capacity_ = wanted;
    return true;
  }

  std::byte* begin_ = inline_.data();
  std::size_t size_ = 0;
  std::size_t capacity_ = kInlineBytes;
  std::byte* heap_ = nullptr;
  std::array<std::byte, kInlineBytes> inline_;
};

}  // namespace owngil::workers

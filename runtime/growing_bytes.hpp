// SPDX-License-Identifier: BSD-3-Clause
// Bytes on the heap that grow at the end. Large ones grow by remapping, not by copying.
//
// Lifetime: owns them until take(). Pointers into it hold until it grows.
// Not: initialised. std::bad_alloc: no memory, nothing has changed.
#pragma once

#include "runtime/task.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

namespace owngil::runtime {

// A copy, which whoever has it frees. std::bad_alloc: no memory.
inline HeapBytes heap_copy(const std::byte* data, std::size_t size) {
  auto* copy = static_cast<std::byte*>(std::malloc(size));
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy, data, size);
  return {copy, size};
}

class GrowingBytes {
 public:
  GrowingBytes() = default;
  GrowingBytes(const GrowingBytes&) = delete;
  GrowingBytes& operator=(const GrowingBytes&) = delete;
  ~GrowingBytes() { std::free(data_); }

  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  void clear() { size_ = 0; }

  // The first of `size` more bytes.
  std::byte* extend(std::size_t size) {
    if (capacity_ - size_ < size) {
      const std::size_t wanted = std::max({capacity_ * 2, size_ + size, std::size_t{4096}});
      auto* grown = static_cast<std::byte*>(std::realloc(data_, wanted));
      if (grown == nullptr) throw std::bad_alloc();
      data_ = grown;
      capacity_ = wanted;
    }
    size_ += size;
    return data_ + size_ - size;
  }

  // Both require: size <= size().
  void drop_back(std::size_t size) { size_ -= size; }
  void drop_front(std::size_t size) {
    size_ -= size;
    if (size_ != 0) std::memmove(data_, data_ + size, size_);
  }

  // Gives them away; whoever has them frees them.
  HeapBytes take() {
    const HeapBytes bytes{data_, size_};
    data_ = nullptr;
    size_ = capacity_ = 0;
    return bytes;
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace owngil::runtime

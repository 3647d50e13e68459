// SPDX-License-Identifier: BSD-3-Clause
// Reads bytes that somebody else wrote, from front to back and never beyond their end.
//
// Lifetime: borrows the bytes. Not: a judge of what they mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace owngil::cpp {

// `End` is thrown where there is less than is asked for.
template <typename End>
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}

  std::span<const std::byte> take(std::uint64_t size) {
    if (size > rest_.size()) throw End();
    const auto taken = rest_.first(static_cast<std::size_t>(size));
    rest_ = rest_.subspan(static_cast<std::size_t>(size));
    return taken;
  }
  template <typename T>
  T raw() {
    T number;
    std::memcpy(&number, take(sizeof number).data(), sizeof number);
    return number;
  }
  [[nodiscard]] std::span<const std::byte> rest() const { return rest_; }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace owngil::cpp

// SPDX-License-Identifier: BSD-3-Clause
// Plain values, and what is made of them, as a pickle that any CPython 3.8 or later reads.
//
// Threads: one writer is one thread's.
// Lifetime: owns its bytes until take().
// Not: a memory: an object that is written twice is two objects where it arrives.
#pragma once

#include "cpp/pickle_format.hpp"
#include "owngil/value.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace owngil::cpp {

class PickleWriter {
 public:
  PickleWriter();  // writes the beginning of a pickle

  // Throws std::invalid_argument: text that is not UTF-8, or nested too deep.
  void value(const Value& value, int depth = 0);

  // --- the parts, for who writes something else
  void op(Op op) { bytes_.push_back(static_cast<std::byte>(op)); }
  void integer(std::int64_t number);
  void big_integer(std::span<const std::byte> little_endian);  // two's complement
  void real(double number);
  void text(std::string_view utf8);  // as it is
  void binary(std::span<const std::byte> bytes);
  void byte_array(std::span<const std::byte> bytes);
  void global(std::string_view module, std::string_view name);  // neither has a line's end
  void memo(Op get_or_put, std::uint32_t index);                // long_binget, long_binput

  // Ends the pickle.
  Bytes take();

 private:
  template <typename T>
  void raw(T number) {  // little-endian, as the machine
    const std::size_t before = bytes_.size();
    bytes_.resize(before + sizeof number);
    std::memcpy(bytes_.data() + before, &number, sizeof number);
  }
  void append(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void sequence(const std::vector<Value>& items, int depth);

  Bytes bytes_;
};

// A pickle that unpickles to what these bytes do, with their large buffers inside: it needs the
// package owngil where it is read.
Bytes with_buffers(std::span<const std::byte> pickle,
                   std::span<const std::span<const std::byte>> buffers);

// Is it UTF-8, as Unicode defines it, or with lone surrogates besides?
bool is_utf8(std::string_view text, bool surrogates) noexcept;

}  // namespace owngil::cpp

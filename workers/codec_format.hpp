// SPDX-License-Identifier: BSD-3-Clause
// The bytes of the tagged codec, as encoder and decoder both see them.
//
//   value     = tag body
//   call      = count(positional) count(keywords) value* name* value*      name = a str value
//   none, false, true         nothing
//   int8, int32, int64        two's complement, as the machine has it
//   int_text                  count, then "-0xabc" in ASCII
//   float64, complex128       the bits of one double, of two
//   bytes, str1, str2, str4   count of units, then the units of 1, 1, 2, 4 bytes
//   tuple, list               count, then values
//   dict                      count, then pairs: key, value
//   reference                 count: where in this encoding the object's tag stands
//   count                     LEB128, at most 32 bits
//
// A tag to which a reference goes back has kShared added to it: the decoder remembers only
// those. A dict's key is a scalar, a str, bytes, or a tuple of these, so that no input can make
// hashing it slow.
// Lifetime: none. Not: an interface; codec.hpp is that. Knows no Python: cpp/ reads these bytes, too.
#pragma once

#include <cstddef>
#include <cstdint>

namespace owngil::workers {

// Beyond these, pickle is as good: its fixed costs no longer show.
inline constexpr std::size_t kCodecMaxBytes = 64 * 1024;
inline constexpr int kCodecMaxDepth = 16;

enum class Tag : std::uint8_t {
  none = 1,
  false_ = 2,
  true_ = 3,
  int8 = 4,
  int32 = 5,
  int64 = 6,
  int_text = 7,
  float64 = 8,
  complex128 = 9,
  bytes = 10,
  str1 = 11,
  str2 = 12,
  str4 = 13,
  tuple = 14,
  list = 15,
  dict = 16,
  reference = 17,
};
inline constexpr std::uint8_t kShared = 0x80;

// A tag with the longest body that is not counted: two doubles.
inline constexpr std::size_t kMaxScalarBytes = 1 + 16;
inline constexpr std::size_t kMaxCountBytes = 5;

}  // namespace owngil::workers

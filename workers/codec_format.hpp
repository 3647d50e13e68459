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
//   array                     element flags dimensions: one byte each, the lengths of the dimensions
//                             of 8 bytes each, then the elements in C order, unless they came apart
//                             from these bytes: then they are the next of the buffers that did
//   count                     LEB128, at most 32 bits
//
// A tag to which a reference goes back has kShared added to it: the decoder remembers only
// those. A dict's key is a scalar, a str, bytes, or a tuple of these, so that no input can make
// hashing it slow.
// Lifetime: none. Not: an interface; codec.hpp is that. Knows no Python: cpp/ reads these bytes, too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace owngil::workers {

// Beyond these, pickle is as good: its fixed costs no longer show.
inline constexpr std::size_t kCodecMaxBytes = 64 * 1024;
inline constexpr int kCodecMaxDepth = 16;
inline constexpr std::size_t kCodecMaxDimensions = 32;

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
  array = 18,
};
inline constexpr std::uint8_t kShared = 0x80;

enum ArrayFlag : std::uint8_t {
  kReadOnly = 1,
  kApart = 2,
};

// What arrays are made of, by NumPy's numbers of the types: their letters, which NumPy takes as
// names, and how many bytes one has. Size 0: a type that is not plain, or none.
struct ElementType {
  char letter;
  std::uint8_t size;
};
constexpr ElementType element_type(std::uint8_t number) noexcept {
  constexpr std::uint8_t kHalf = 23;
  constexpr ElementType kTypes[] = {
      {'?', 1},
      {'b', 1},
      {'B', 1},
      {'h', 2},
      {'H', 2},
      {'i', 4},
      {'I', 4},
      {'l', 8},
      {'L', 8},
      {'q', 8},
      {'Q', 8},
      {'f', 4},
      {'d', 8},
      {'g', sizeof(long double)},
      {'F', 8},
      {'D', 16},
      {'G', 2 * sizeof(long double)},
  };
  if (number == kHalf) return {'e', 2};
  return number < std::size(kTypes) ? kTypes[number] : ElementType{'\0', 0};
}

// A tag with the longest body that is not counted: two doubles.
inline constexpr std::size_t kMaxScalarBytes = 1 + 16;
inline constexpr std::size_t kMaxCountBytes = 5;
// What stands before an array's elements, its tag included.
inline constexpr std::size_t kMaxArrayHead = 4 + kCodecMaxDimensions * sizeof(std::int64_t);

}  // namespace owngil::workers

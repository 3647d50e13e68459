// SPDX-License-Identifier: BSD-3-Clause
// The opcodes of pickle that plain values are made of, as reader and writer both see them.
//
// Lifetime: none. Not: all of pickle. Whatever else a stream has in it is not plain.
#pragma once

#include <cstddef>
#include <cstdint>

namespace owngil::cpp {

enum class Op : std::uint8_t {
  mark = '(',
  stop = '.',
  pop = '0',
  pop_mark = '1',
  binfloat = 'G',
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  none = 'N',
  binpersid = 'Q',
  reduce = 'R',
  binunicode = 'X',
  append = 'a',
  global = 'c',
  appends = 'e',
  binget = 'h',
  long_binget = 'j',
  binput = 'q',
  long_binput = 'r',
  setitem = 's',
  tuple = 't',
  setitems = 'u',
  empty_dict = '}',
  empty_list = ']',
  empty_tuple = ')',
  binbytes = 'B',
  short_binbytes = 'C',
  proto = 0x80,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  newtrue = 0x88,
  newfalse = 0x89,
  long1 = 0x8A,
  long4 = 0x8B,
  short_binunicode = 0x8C,
  binunicode8 = 0x8D,
  binbytes8 = 0x8E,
  memoize = 0x94,
  frame = 0x95,
  bytearray8 = 0x96,
  next_buffer = 0x97,
  readonly_buffer = 0x98,
};

inline constexpr std::uint8_t kProtocol = 5;

// Deeper than this nothing is plain: neither our stack nor that of Python's pickle is endless.
inline constexpr int kMaxDepth = 500;

}  // namespace owngil::cpp

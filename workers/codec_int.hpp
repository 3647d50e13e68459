// SPDX-License-Identifier: BSD-3-Clause
// A lone int in the tagged codec, in place: what maps are made of most.
//
// Threads: needs the GIL where it is given an object.
// Lifetime: none.
// Not: another format. These are the bytes that codec.hpp makes and takes.
#pragma once

#include "workers/codec_format.hpp"
#include "workers/python.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace owngil::workers {

inline constexpr std::size_t kMaxIntBytes = 1 + sizeof(std::int64_t);

template <typename T>
inline std::byte* put_tagged(std::byte* at, Tag tag, T value) noexcept {
  *at = static_cast<std::byte>(tag);
  std::memcpy(at + 1, &value, sizeof value);
  return at + 1 + sizeof value;
}

inline std::byte* put_int(std::byte* at, long value) noexcept {
  if (value == static_cast<std::int8_t>(value)) {
    return put_tagged(at, Tag::int8, static_cast<std::int8_t>(value));
  }
  if (value == static_cast<std::int32_t>(value)) {
    return put_tagged(at, Tag::int32, static_cast<std::int32_t>(value));
  }
  return put_tagged(at, Tag::int64, static_cast<std::int64_t>(value));
}

// An int of one digit, of exactly that type.
inline bool is_small_int(PyObject* object) noexcept {
  return PyLong_CheckExact(object) &&
         PyUnstable_Long_IsCompact(reinterpret_cast<PyLongObject*>(object)) != 0;
}

// Writes at most kMaxIntBytes; returns their end. Requires: is_small_int.
inline std::byte* put_small_int(std::byte* at, PyObject* object) noexcept {
  return put_int(
      at, static_cast<long>(PyUnstable_Long_CompactValue(reinterpret_cast<PyLongObject*>(object))));
}

// A call with one positional argument begins with these counts.
inline constexpr std::size_t kOneArgumentCounts = 2;
inline std::byte* put_one_argument_counts(std::byte* at) noexcept {
  at[0] = std::byte{1};
  at[1] = std::byte{0};
  return at + kOneArgumentCounts;
}
inline bool has_one_argument(std::span<const std::byte> call) noexcept {
  return call.size() > kOneArgumentCounts && call[0] == std::byte{1} && call[1] == std::byte{0};
}

template <typename T>
inline long get_raw(const std::byte* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<long>(value);
}

// The number, if the bytes are an int of at most 64 bits and nothing else.
inline std::optional<long> read_int(std::span<const std::byte> bytes) noexcept {
  const auto is = [bytes](Tag tag) { return bytes[0] == static_cast<std::byte>(tag); };
  switch (bytes.size()) {
    case 1 + sizeof(std::int8_t):
      if (is(Tag::int8)) return get_raw<std::int8_t>(bytes.data() + 1);
      break;
    case 1 + sizeof(std::int32_t):
      if (is(Tag::int32)) return get_raw<std::int32_t>(bytes.data() + 1);
      break;
    case 1 + sizeof(std::int64_t):
      if (is(Tag::int64)) return get_raw<std::int64_t>(bytes.data() + 1);
      break;
    default: break;
  }
  return std::nullopt;
}

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
// The short strings that were decoded lately: the keys and words that come in item after item.
//
// Such a string is the same object then, as it is among the items of one pickle: nobody makes it,
// hashes it and keeps it a thousand times.
// Threads: needs the GIL, its destructor included.
// Lifetime: its interpreter's; it keeps kEntries strings at most.
// Not: interning. A string that is pushed out is made anew when it comes again.
#pragma once

#include "workers/python.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace owngil::workers {

class ShortStrings {
 public:
  static constexpr std::size_t kLongest = 16;

  ShortStrings() noexcept = default;
  ShortStrings(const ShortStrings&) = delete;
  ShortStrings& operator=(const ShortStrings&) = delete;
  ~ShortStrings() {
    for (const Entry& entry : entries_) Py_XDECREF(entry.string);
  }

  // A new reference to the str of these characters of one byte each, at most kLongest; nullptr:
  // an exception is set.
  [[nodiscard]] PyObject* get(std::span<const std::byte> characters) noexcept {
    const Key key = key_of(characters);
    Entry& entry =
        entries_[(key.low * 0x9E37'79B9'7F4A'7C15ULL ^ key.high * 0xC2B2'AE3D'27D4'EB4FULL) >>
                 (64 - kBits)];
    if (entry.string != nullptr && entry.key == key) return Py_NewRef(entry.string);
    PyObject* const made = PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, characters.data(),
                                                     static_cast<Py_ssize_t>(characters.size()));
    if (made == nullptr) return nullptr;
    entry.key = key;
    Py_XSETREF(entry.string, Py_NewRef(made));
    return made;
  }

 private:
  static constexpr unsigned kBits = 8;
  static constexpr std::size_t kEntries = std::size_t{1} << kBits;

  // All the characters and how many they are.
  struct Key {
    std::uint64_t low;
    std::uint64_t high;
    std::size_t size;
    bool operator==(const Key&) const = default;
  };
  struct Entry {
    Key key;
    PyObject* string;
  };

  template <typename T>
  static std::uint64_t load(const std::byte* at) noexcept {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }

  // By two loads that overlap: the bytes behind the string need not be readable.
  static Key key_of(std::span<const std::byte> characters) noexcept {
    const std::byte* const at = characters.data();
    const std::size_t size = characters.size();
    if (size >= 8) return {load<std::uint64_t>(at), load<std::uint64_t>(at + size - 8), size};
    if (size >= 4) return {load<std::uint32_t>(at), load<std::uint32_t>(at + size - 4), size};
    if (size == 0) return {0, 0, 0};
    return {load<std::uint8_t>(at),
            load<std::uint8_t>(at + size / 2) << 8 | load<std::uint8_t>(at + size - 1), size};
  }

  std::array<Entry, kEntries> entries_{};
};

}  // namespace owngil::workers

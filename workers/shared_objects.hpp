// SPDX-License-Identifier: BSD-3-Clause
// The objects of a decoding that later references go back to, by their place.
//
// Threads: needs the GIL, its destructor included.
// Lifetime: one decoding. Owns the objects, so that none is freed and another found in its place.
// Not: all objects; only those whose tag says so are added.
#pragma once

#include "workers/python.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace owngil::workers {

class SharedObjects {
 public:
  SharedObjects() noexcept = default;
  SharedObjects(const SharedObjects&) = delete;
  SharedObjects& operator=(const SharedObjects&) = delete;
  ~SharedObjects() {
    for (std::size_t i = 0; i != count_; ++i) Py_XDECREF(entries_[i].object);
    if (entries_ != inline_) PyMem_Free(entries_);
  }

  // Takes the next place; places only rise. The object may follow (set). False: no memory.
  [[nodiscard]] bool add(std::uint32_t place, PyObject* borrowed, std::size_t& index) noexcept {
    if (count_ == capacity_ && !grow()) return false;
    index = count_;
    entries_[count_++] = {Py_XNewRef(borrowed), place};
    return true;
  }
  void set(std::size_t index, PyObject* borrowed) noexcept {
    entries_[index].object = Py_NewRef(borrowed);
  }

  // Borrowed; nullptr: nothing there, or a tuple that is not whole yet.
  [[nodiscard]] PyObject* find(std::uint32_t place) const noexcept {
    const std::span<const Entry> all(entries_, count_);
    const auto found =
        std::lower_bound(all.begin(), all.end(), place,
                         [](const Entry& entry, std::uint32_t at) { return entry.place < at; });
    return found != all.end() && found->place == place ? found->object : nullptr;
  }

 private:
  struct Entry {
    PyObject* object;
    std::uint32_t place;
  };

  [[nodiscard]] bool grow() noexcept {
    auto* const grown = static_cast<Entry*>(PyMem_Malloc(capacity_ * 4 * sizeof(Entry)));
    if (grown == nullptr) return false;
    std::copy_n(entries_, count_, grown);
    if (entries_ != inline_) PyMem_Free(entries_);
    entries_ = grown;
    capacity_ *= 4;
    return true;
  }

  Entry inline_[8];
  Entry* entries_ = inline_;
  std::size_t count_ = 0;
  std::size_t capacity_ = 8;
};

}  // namespace owngil::workers

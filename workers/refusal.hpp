// SPDX-License-Identifier: BSD-3-Clause
// What an interpreter has been refused because of what it is, as its Python half has seen it.
//
// Threads: needs the GIL: it may be noted by any thread of the task's.
// Lifetime: from its note until the next task; `what` is short, so that it fits a reply's slot.
#pragma once

#include "ipc/layout.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

namespace owngil::workers {

class Refusal {
 public:
  // The first one counts: others follow from it.
  void note(std::string_view what) noexcept {
    if (size_ != 0 || what.empty()) return;
    size_ = std::min(what.size(), what_.size());
    std::memcpy(what_.data(), what.data(), size_);
  }
  void clear() noexcept { size_ = 0; }

  [[nodiscard]] explicit operator bool() const noexcept { return size_ != 0; }
  [[nodiscard]] std::string_view what() const noexcept {
    return {reinterpret_cast<const char*>(what_.data()), size_};
  }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {what_.data(), size_}; }

 private:
  std::array<std::byte, ipc::kInlineBytes> what_{};
  std::size_t size_ = 0;
};

}  // namespace owngil::workers

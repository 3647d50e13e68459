// SPDX-License-Identifier: BSD-3-Clause
// The blobs that this worker was sent: functions and contexts, by number.
//
// Threads: the worker's loop and the runner that it calls.
// Lifetime: owns its bytes, until they are to be forgotten or sent again.
// Not: a cache of what they decode to; whoever decodes one keeps that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace owngil::workers {

class ReceivedBlobs {
 public:
  void define(std::uint32_t number, std::span<const std::byte> bytes) {
    blobs_.insert_or_assign(number, std::vector<std::byte>(bytes.begin(), bytes.end()));
  }
  void forget(std::uint32_t number) { blobs_.erase(number); }

  // Nothing: never defined, or forgotten.
  [[nodiscard]] std::optional<std::span<const std::byte>> find(std::uint32_t number) const {
    const auto found = blobs_.find(number);
    if (found == blobs_.end()) return std::nullopt;
    return found->second;
  }

 private:
  std::unordered_map<std::uint32_t, std::vector<std::byte>> blobs_;
};

}  // namespace owngil::workers

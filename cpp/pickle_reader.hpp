// SPDX-License-Identifier: BSD-3-Clause
// Plain values from a pickle: never runs, imports or makes anything that a pickle may ask for.
//
// Threads: any. Lifetime: what is returned owns itself.
// Not: a judge of pickles. What is not plain may well be one; nonsense is not plain either.
// Invariants:
//   R1  Any bytes are safe input: every length is checked against what is left.
//   R2  What is made is at most kMostBytes, or a few times the input: a pickle can name one large
//       object a million times.
#pragma once

#include "owngil/value.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace owngil::cpp {

inline constexpr std::uint64_t kMostBytes = std::uint64_t{64} << 20;

// `buffers`: what went apart from the pickle, in its order (ipc/buffer_list.hpp).
std::optional<Value> read_pickle(std::span<const std::byte> pickle,
                                 std::span<const std::span<const std::byte>> buffers = {});

}  // namespace owngil::cpp

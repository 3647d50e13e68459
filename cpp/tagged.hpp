// SPDX-License-Identifier: BSD-3-Clause
// What workers answer in the tagged codec, as a pickle: one reader then knows what is plain.
//
// Threads: any. Lifetime: what is returned owns itself.
// Not: the codec, which is workers/codec.hpp and needs Python.
#pragma once

#include "owngil/value.hpp"

#include <cstddef>
#include <optional>
#include <span>

namespace owngil::cpp {

// `buffers`: what came apart from the bytes, in its order. Any bytes are safe input. Nothing: they
// are no encoding.
std::optional<Bytes> tagged_to_pickle(std::span<const std::byte> tagged,
                                      std::span<const std::span<const std::byte>> buffers = {});

// A lone number, truth or None, which need no pickle. Nothing: it is something else.
std::optional<Value> read_tagged_scalar(std::span<const std::byte> tagged);

}  // namespace owngil::cpp

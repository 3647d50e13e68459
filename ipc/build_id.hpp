// SPDX-License-Identifier: BSD-3-Clause
// The number of this build, for ChannelHeader::build and Board::build.
//
// Two builds that could misread each other have different numbers: a program that runs while its
// package is upgraded gets a clear error from the new worker instead of nonsense.
#pragma once

#include <cstdint>

namespace owngil::ipc {

[[nodiscard]] std::uint64_t build_id() noexcept;

}  // namespace owngil::ipc

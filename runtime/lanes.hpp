// SPDX-License-Identifier: BSD-3-Clause
// A pool runs so many tasks at once: it has so many lanes. In most pools one worker serves a lane, and
// has its number as its rank. Where workers of the first choice cannot run everything, each lane has two:
// one of the first choice, one to fall back to, of which only one has tasks at a time.
//
// Pure. Not: a worker. Either rank of a lane may be empty.
#pragma once

#include <cstdint>

namespace owngil::runtime {

using Rank = std::uint32_t;
using Lane = std::uint32_t;

enum class Choice : std::uint8_t { first, fallback };

struct Lanes {
  bool paired = false;  // two ranks to a lane: 2 * lane, and the fallback's behind it

  [[nodiscard]] Rank ranks(Lane lanes) const { return paired ? 2 * lanes : lanes; }
  [[nodiscard]] Lane lane_of(Rank rank) const { return paired ? rank / 2 : rank; }
  [[nodiscard]] Choice choice_of(Rank rank) const {
    return paired && rank % 2 != 0 ? Choice::fallback : Choice::first;
  }
  // Requires: paired.
  [[nodiscard]] static Rank partner_of(Rank rank) { return rank ^ 1; }
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// How many workers were lost lately, with no task to blame: more than allowed, and the pool is not
// worth going on with. After OTP's supervisors.
//
// Pure: the clock is passed in.
// Threads: none; guarded by the supervisor's mutex.
// Not: the wait before the next start; that is each seat's own.
// Invariants:
//   R1  A loss is forgotten once it is older than the window and a worker that was started after
//       it has come up. So starts that all fail, however slowly, come to an end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>

namespace owngil::runtime {

class RestartIntensity {
 public:
  explicit RestartIntensity(std::uint64_t window_ns) : window_ns_(window_ns) {}

  // A worker that was started then has come up.
  void came_up(std::uint64_t launched_ns) { proof_ns_ = std::max(proof_ns_, launched_ns); }

  // One more is lost. True: that makes more than `limit`.
  [[nodiscard]] bool is_exceeded_by_loss(std::uint64_t now_ns, std::uint64_t limit) {
    while (!losses_.empty() && losses_.front() < proof_ns_ &&
           now_ns - losses_.front() > window_ns_) {
      losses_.pop_front();
    }
    losses_.push_back(now_ns);
    return losses_.size() > limit;
  }

 private:
  // immutable after construction
  std::uint64_t window_ns_;
  // guarded by the supervisor's mutex
  std::uint64_t proof_ns_ = 0;
  std::deque<std::uint64_t> losses_;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/scheduler.hpp"

#include <algorithm>

namespace owngil::runtime {

Scheduler::Scheduler(std::uint32_t cpus, SchedulerTuning tuning, Lanes lanes)
    : cpus_(cpus), tuning_(tuning), lanes_(lanes) {}

void Scheduler::add(Rank rank) {
  if (rank >= places_.size()) places_.resize(rank + 1);
  Place& place = places_[rank];
  place = Place{};
  place.present = place.open = place.starting = true;
  ++open_;
  push_idle(rank);
}

void Scheduler::came_up(Rank rank) {
  Place& place = places_[rank];
  if (!place.starting) return;
  place.starting = false;
  if (!place.idle) return;
  drop_idle(rank);
  Rank below = kNone;  // the topmost of those that are still starting
  for (Rank one = idle_of(lanes_.choice_of(rank)).bottom; one != kNone && places_[one].starting;
       one = places_[one].idle_above) {
    below = one;
  }
  put_idle_above(rank, below);
}

void Scheduler::remove(Rank rank) {
  Place& place = places_[rank];
  if (!place.present) return;
  close(rank);
  grant(rank, false);
  if (place.outstanding > 0) {
    place.outstanding = 0;
    drop_busy(rank);
    unbar_partner(rank);
  }
  place.present = false;
}

void Scheduler::close(Rank rank) {
  Place& place = places_[rank];
  if (!place.open) return;
  place.open = false;
  --open_;
  if (place.outstanding == 0) {
    drop_idle(rank);
    grant(rank, false);
  }
}

void Scheduler::reopen(Rank rank) {
  Place& place = places_[rank];
  if (!place.present || place.open) return;
  place.open = true;
  ++open_;
  if (place.outstanding == 0) push_idle(rank);
}

void Scheduler::completed(Rank rank, std::uint64_t run_ns) {
  // Quick to believe in long tasks, slow to forget them: a ring too shallow costs a refill, one
  // too deep makes short tasks wait behind a long one.
  run_ns = std::max<std::uint64_t>(run_ns, 1);
  estimate_ns_ = std::max(run_ns, estimate_ns_ - estimate_ns_ / 8);
  places_[rank].starting = false;
  finished_one(rank);
}

void Scheduler::withdrawn(Rank rank) { finished_one(rank); }

void Scheduler::finished_one(Rank rank) {
  Place& place = places_[rank];
  if (--place.outstanding > 0) return;
  drop_busy(rank);
  unbar_partner(rank);
  if (place.open) {
    push_idle(rank);
  } else {
    grant(rank, false);
  }
}

bool Scheduler::any_queued() const {
  return std::any_of(busy_.begin(), busy_.end(), [this](Rank rank) { return queued(rank) > 0; });
}

bool Scheduler::is_worth_moving() const {
  return open_ > 1 && std::any_of(busy_.begin(), busy_.end(), [this](Rank rank) {
           const std::uint64_t count = queued(rank);
           return count > 0 &&
                  (estimate_ns_ == 0 || is_outrun(rank) || count * estimate_ns_ >= tuning_.wake_ns);
         });
}

std::uint32_t Scheduler::depth() const {
  if (estimate_ns_ == 0) return 2;
  const std::uint64_t depth = tuning_.ahead_ns / estimate_ns_;
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(depth, 2, tuning_.max_depth));
}

Rank Scheduler::take(Rank rank) {
  Place& place = places_[rank];
  if (place.outstanding++ == 0) {
    drop_idle(rank);
    push_busy(rank);
    bar_partner(rank);
    // `awake_` counts this worker already: it is busy.
    if (awake_ + 1 > cpus_) revoke_grants();
    grant(rank, awake_ + 1 <= cpus_);
  }
  return rank;
}

// A busy worker whose ring is so short, for tasks so small, that queueing there is sooner done
// than waking another.
Rank Scheduler::cheap_busy(Choice choice) const {
  if (estimate_ns_ == 0) return kNone;
  return least_loaded(choice, std::min<std::uint64_t>(tuning_.wake_ns / estimate_ns_, depth()));
}

// The busy worker of that choice with the fewest tasks outstanding, if those are fewer than `limit`.
Rank Scheduler::least_loaded(Choice choice, std::uint64_t limit) const {
  Rank best = kNone;
  for (Rank rank : busy_) {
    const Place& place = places_[rank];
    if (!place.open || place.outstanding >= limit || lanes_.choice_of(rank) != choice) continue;
    if (best == kNone || place.outstanding < places_[best].outstanding) best = rank;
  }
  return best;
}

// One that comes back without having been up (its task was taken back) goes below all others.
void Scheduler::push_idle(Rank rank) {
  if (is_barred(rank)) return;
  put_idle_above(rank, places_[rank].starting ? kNone : idle_of(lanes_.choice_of(rank)).top);
}

// `below`: kNone for the bottom.
void Scheduler::put_idle_above(Rank rank, Rank below) {
  Place& place = places_[rank];
  Idle& idle = idle_of(lanes_.choice_of(rank));
  place.idle = true;
  place.idle_below = below;
  Rank& from_below = below != kNone ? places_[below].idle_above : idle.bottom;
  place.idle_above = from_below;
  from_below = rank;
  (place.idle_above != kNone ? places_[place.idle_above].idle_below : idle.top) = rank;
}

void Scheduler::drop_idle(Rank rank) {
  Place& place = places_[rank];
  if (!place.idle) return;
  place.idle = false;
  Idle& idle = idle_of(lanes_.choice_of(rank));
  if (place.idle_above != kNone) {
    places_[place.idle_above].idle_below = place.idle_below;
  } else {
    idle.top = place.idle_below;
  }
  if (place.idle_below != kNone) {
    places_[place.idle_below].idle_above = place.idle_above;
  } else {
    idle.bottom = place.idle_above;
  }
}

void Scheduler::push_busy(Rank rank) {
  places_[rank].busy_index = static_cast<std::uint32_t>(busy_.size());
  busy_.push_back(rank);
  if (!places_[rank].granted) ++awake_;
}

void Scheduler::drop_busy(Rank rank) {
  const std::uint32_t index = places_[rank].busy_index;
  busy_[index] = busy_.back();
  places_[busy_[index]].busy_index = index;
  busy_.pop_back();
  if (!places_[rank].granted) --awake_;
}

// This worker has tasks now, for as long as which the other of its lane gets none.
void Scheduler::bar_partner(Rank rank) {
  const Rank partner = Lanes::partner_of(rank);
  if (!lanes_.paired || partner >= places_.size()) return;
  drop_idle(partner);
  grant(partner, false);
}

void Scheduler::unbar_partner(Rank rank) {
  const Rank partner = Lanes::partner_of(rank);
  if (!lanes_.paired || partner >= places_.size() || !places_[partner].open) return;
  push_idle(partner);
}

void Scheduler::grant(Rank rank, bool granted) {
  Place& place = places_[rank];
  if (place.granted == granted) return;
  place.granted = granted;
  if (place.outstanding == 0) awake_ += granted ? 1U : ~0U;
  changed_.push_back(rank);
}

// Too many are awake: first those who only spin, then the busy ones, so that they will not.
void Scheduler::revoke_grants() {
  for (const Idle& idle : idle_) {
    for (Rank rank = idle.top; rank != kNone && awake_ + 1 > cpus_;
         rank = places_[rank].idle_below) {
      grant(rank, false);
    }
  }
  if (awake_ + 1 <= cpus_) return;
  for (Rank rank : busy_) grant(rank, false);
}

}  // namespace owngil::runtime

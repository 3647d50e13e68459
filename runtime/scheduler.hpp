// SPDX-License-Identifier: BSD-3-Clause
// Decides which worker gets a task, how many may wait in its ring, and who may spin.
//
// Pure: no clock, no thread, no memory of anybody else's. The supervisor tells it what happened
//   and does what it says; tests play it under virtual time.
// Threads: none; guarded by the supervisor's mutex.
// Invariants:
//   S1  An idle worker that is awake is chosen before any other, the most recently idle first; one
//       that is still starting only where nobody else is idle. Only workers of the task's choice are
//       looked at.
//   S2  No worker has more than depth() tasks outstanding.
//   S3  Workers that are busy or may spin, plus one spinning caller, never exceed the CPUs,
//       unless busy workers alone do.
//   S4  While a worker is idle and nothing waits in the backlog, victim() names a worker whose
//       ring holds a task behind one that has run for longer than a wake-up is worth, or which
//       is still starting while the idle one is not.
//   S5  While nobody is idle and a task waits longer than a start takes, is_worth_starting() says
//       so.
//   S6  Of the two workers of a lane at most one has tasks outstanding. While it has, the other is
//       barred: neither idle nor granted a spin.
#pragma once

#include "runtime/lanes.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace owngil::runtime {

// What the decisions are tuned by; each with its trade-off.
struct SchedulerTuning {
  // More than this in a ring buys nothing: it covers the time until somebody refills it.
  std::uint64_t ahead_ns = 400'000;
  // Waking a sleeping worker costs about this much; less work than that rather queues.
  std::uint64_t wake_ns = 50'000;
  // Starting a worker costs about this much, until it has taken up its first task.
  std::uint64_t start_ns = 5'000'000;
  // A ring never holds more; leaves room in it for blobs.
  std::uint32_t max_depth = 192;
};

class Scheduler {
 public:
  explicit Scheduler(std::uint32_t cpus, SchedulerTuning tuning = {}, Lanes lanes = {});

  // --- what happened
  void add(Rank rank);      // a worker starts in this place, which may be a new one; it is idle
  void came_up(Rank rank);  // it can begin a task at once
  void remove(Rank rank);   // it is gone, and so is what was outstanding there
  void close(Rank rank);    // nothing more for it, though it still works off what it has
  void reopen(Rank rank);   // it is to be given tasks again
  void completed(Rank rank, std::uint64_t run_ns);
  void withdrawn(Rank rank);  // a task was taken back from its ring

  // --- what to do
  // The worker for the next task, which is for workers of that choice, now counted as outstanding
  // there; nothing: it has to wait. `is_asleep(rank)` tells whether an idle worker would have to be woken, `running_ns(rank)` for
  // how long a busy one's present task has run.
  template <class IsAsleep, class RunningNs>
  std::optional<Rank> assign(Choice choice, IsAsleep&& is_asleep, RunningNs&& running_ns) {
    if (const Rank idle = idle_of(choice).top; idle != kNone) {
      if (!places_[idle].starting && !is_asleep(idle)) return take(idle);
      const Rank busy = cheap_busy(choice);
      const bool stuck = busy != kNone && running_ns(busy) >= tuning_.wake_ns;
      return take(busy != kNone && !stuck ? busy : idle);
    }
    const Rank least = least_loaded(choice, depth());
    if (least == kNone) return std::nullopt;
    return take(least);
  }

  // The most recently idle worker of that choice of which `has_room(rank)` is true, whether it sleeps or not;
  // nothing: there is none.
  template <class HasRoom>
  std::optional<Rank> assign_to_idle(Choice choice, HasRoom&& has_room) {
    for (Rank rank = idle_of(choice).top; rank != kNone; rank = places_[rank].idle_below) {
      if (has_room(rank)) return take(rank);
    }
    return std::nullopt;
  }

  // With a worker of that choice idle: whose ring to take a task back from. `running_ns(rank)` tells
  // for how long its present task has run.
  template <class RunningNs>
  std::optional<Rank> victim(Choice choice, RunningNs&& running_ns) const {
    if (idle_of(choice).top == kNone) return std::nullopt;
    Rank best = kNone;
    for (Rank rank : busy_) {
      if (lanes_.choice_of(rank) != choice) continue;
      const std::uint64_t count = queued(rank);
      if (count == 0) continue;
      const bool is_brief = count * estimate_ns_ < tuning_.wake_ns;
      if (!is_outrun(rank) && is_brief && running_ns(rank) < tuning_.wake_ns) continue;
      if (best == kNone || places_[rank].outstanding > places_[best].outstanding) best = rank;
    }
    if (best == kNone) return std::nullopt;
    return best;
  }

  // With a place free: would one more worker of that choice begin a task sooner than those that are
  // there? `waiting` tasks for such a one are in the backlog.
  template <class RunningNs>
  bool is_worth_starting(Choice choice, std::uint64_t waiting, RunningNs&& running_ns) const {
    if (any_idle(choice)) return false;
    std::uint64_t count = waiting;
    std::uint64_t workers = 0;
    bool is_stuck = false;
    bool takes_tasks = false;
    for (Rank rank : busy_) {
      if (lanes_.choice_of(rank) != choice) continue;
      const std::uint64_t behind = queued(rank);
      count += behind;
      ++workers;
      takes_tasks |= places_[rank].open;
      is_stuck = is_stuck || (behind > 0 && running_ns(rank) >= tuning_.start_ns);
    }
    if (count == 0) return false;
    if (!takes_tasks && waiting > 0) return true;
    return is_stuck || estimate_ns_ == 0 || count * estimate_ns_ >= workers * tuning_.start_ns;
  }

  bool any_idle(Choice choice) const { return idle_of(choice).top != kNone; }
  // Its partner has tasks.
  bool is_barred(Rank rank) const {
    const Rank partner = Lanes::partner_of(rank);
    return lanes_.paired && partner < places_.size() && places_[partner].outstanding > 0;
  }
  bool any_queued() const;       // some ring holds more than its worker is running
  bool is_worth_moving() const;  // ... and so much that an idle worker should have it
  std::uint32_t outstanding(Rank rank) const { return places_[rank].outstanding; }
  std::uint32_t depth() const;
  std::uint64_t estimate_ns() const { return estimate_ns_; }

  bool may_spin(Rank rank) const { return places_[rank].granted; }
  bool caller_may_spin() const { return awake_ + 1 <= cpus_; }
  // Workers whose grant has changed since this was last asked; clears the list.
  std::vector<Rank>& changed_grants() { return changed_; }

 private:
  static constexpr Rank kNone = std::numeric_limits<Rank>::max();

  struct Place {
    std::uint32_t outstanding = 0;
    bool present = false;
    bool open = false;      // may be given tasks
    bool starting = false;  // not up yet, as far as is known
    bool granted = false;   // may spin when it runs out of work
    bool idle = false;      // among those that are
    Rank idle_above = kNone;
    Rank idle_below = kNone;
    std::uint32_t busy_index = 0;
  };

  // Those of one choice, the most recently idle on top; those that are starting lie below all others.
  struct Idle {
    Rank top = kNone;
    Rank bottom = kNone;
  };

  Idle& idle_of(Choice choice) { return idle_[static_cast<std::size_t>(choice)]; }
  const Idle& idle_of(Choice choice) const { return idle_[static_cast<std::size_t>(choice)]; }
  // A worker that is up has nothing to do, while this one cannot begin what it has been given.
  bool is_outrun(Rank rank) const {
    if (!places_[rank].starting) return false;
    const Rank top = idle_of(lanes_.choice_of(rank)).top;
    return top != kNone && !places_[top].starting;
  }
  // What waits in its ring.
  std::uint64_t queued(Rank rank) const {
    return places_[rank].outstanding - (is_outrun(rank) ? 0 : 1);
  }
  Rank take(Rank rank);
  Rank cheap_busy(Choice choice) const;
  Rank least_loaded(Choice choice, std::uint64_t limit) const;
  void push_idle(Rank rank);
  void put_idle_above(Rank rank, Rank below);
  void drop_idle(Rank rank);
  void push_busy(Rank rank);
  void drop_busy(Rank rank);
  void bar_partner(Rank rank);
  void unbar_partner(Rank rank);
  void finished_one(Rank rank);
  void grant(Rank rank, bool granted);
  void revoke_grants();

  // immutable after construction
  std::uint32_t cpus_;
  SchedulerTuning tuning_;
  Lanes lanes_;
  // the workers
  std::vector<Place> places_;
  std::vector<Rank> busy_;
  std::array<Idle, 2> idle_;       // by choice
  std::uint32_t open_ = 0;         // places that may be given tasks
  std::uint32_t awake_ = 0;        // busy, or idle with a grant
  std::uint64_t estimate_ns_ = 0;  // of one task; 0: not known yet
  std::vector<Rank> changed_;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// Decides which worker gets a task, how many may wait in its ring, and who may spin.
//
// Pure: no clock, no thread, no memory of anybody else's. The supervisor tells it what happened
//   and does what it says; tests play it under virtual time.
// Threads: none; guarded by the supervisor's mutex.
// Invariants:
//   S1  An idle worker that is awake is chosen before any other, the most recently idle first; one
//       that is still starting only where nobody else is idle.
//   S2  No worker has more than depth() tasks outstanding.
//   S3  Workers that are busy or may spin, plus one spinning caller, never exceed the CPUs,
//       unless busy workers alone do.
//   S4  While a worker is idle and nothing waits in the backlog, victim() names a worker whose
//       ring holds a task behind one that has run for longer than a wake-up is worth, or which
//       is still starting while the idle one is not.
//   S5  While nobody is idle and a task waits longer than a start takes, is_worth_starting() says
//       so.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace owngil::runtime {

using Rank = std::uint32_t;

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
  explicit Scheduler(std::uint32_t cpus, SchedulerTuning tuning = {});

  // --- what happened
  void add(Rank rank);      // a worker starts in this place, which may be a new one; it is idle
  void came_up(Rank rank);  // it can begin a task at once
  void remove(Rank rank);   // it is gone, and so is what was outstanding there
  void close(Rank rank);    // nothing more for it, though it still works off what it has
  void reopen(Rank rank);   // it is to be given tasks again
  void completed(Rank rank, std::uint64_t run_ns);
  void withdrawn(Rank rank);  // a task was taken back from its ring

  // --- what to do
  // The worker for the next task, now counted as outstanding there; nothing: it has to wait.
  // `is_asleep(rank)` tells whether an idle worker would have to be woken, `running_ns(rank)` for
  // how long a busy one's present task has run.
  template <class IsAsleep, class RunningNs>
  std::optional<Rank> assign(IsAsleep&& is_asleep, RunningNs&& running_ns) {
    if (idle_top_ != kNone) {
      if (!places_[idle_top_].starting && !is_asleep(idle_top_)) return take(idle_top_);
      const Rank busy = cheap_busy();
      const bool stuck = busy != kNone && running_ns(busy) >= tuning_.wake_ns;
      return take(busy != kNone && !stuck ? busy : idle_top_);
    }
    const Rank least = least_loaded(depth());
    if (least == kNone) return std::nullopt;
    return take(least);
  }

  // The most recently idle worker of which `has_room(rank)` is true, whether it sleeps or not;
  // nothing: there is none.
  template <class HasRoom>
  std::optional<Rank> assign_to_idle(HasRoom&& has_room) {
    for (Rank rank = idle_top_; rank != kNone; rank = places_[rank].idle_below) {
      if (has_room(rank)) return take(rank);
    }
    return std::nullopt;
  }

  // With a worker idle: whose ring to take a task back from. `running_ns(rank)` tells for how
  // long its present task has run.
  template <class RunningNs>
  std::optional<Rank> victim(RunningNs&& running_ns) const {
    if (idle_top_ == kNone) return std::nullopt;
    Rank best = kNone;
    for (Rank rank : busy_) {
      const Place& place = places_[rank];
      const std::uint64_t count = queued(place);
      if (count == 0) continue;
      const bool is_brief = count * estimate_ns_ < tuning_.wake_ns;
      if (!is_outrun(place) && is_brief && running_ns(rank) < tuning_.wake_ns) continue;
      if (best == kNone || place.outstanding > places_[best].outstanding) best = rank;
    }
    if (best == kNone) return std::nullopt;
    return best;
  }

  // With a place free: would one more worker begin a task sooner than those that are there?
  // `waiting` tasks are in the backlog.
  template <class RunningNs>
  bool is_worth_starting(std::uint64_t waiting, RunningNs&& running_ns) const {
    if (idle_top_ != kNone) return false;
    if (open_ == 0 && waiting > 0) return true;
    std::uint64_t count = waiting;
    for (Rank rank : busy_) count += queued(places_[rank]);
    if (count == 0) return false;
    if (estimate_ns_ == 0 || count * estimate_ns_ >= busy_.size() * tuning_.start_ns) return true;
    return std::any_of(busy_.begin(), busy_.end(), [&](Rank rank) {
      return queued(places_[rank]) > 0 && running_ns(rank) >= tuning_.start_ns;
    });
  }

  bool any_idle() const { return idle_top_ != kNone; }
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
    Rank idle_above = kNone;
    Rank idle_below = kNone;
    std::uint32_t busy_index = 0;
  };

  // A worker that is up has nothing to do, while this one cannot begin what it has been given.
  bool is_outrun(const Place& place) const {
    return place.starting && idle_top_ != kNone && !places_[idle_top_].starting;
  }
  // What waits in its ring.
  std::uint64_t queued(const Place& place) const {
    return place.outstanding - (is_outrun(place) ? 0 : 1);
  }
  Rank take(Rank rank);
  Rank cheap_busy() const;
  Rank least_loaded(std::uint64_t limit) const;
  void push_idle(Rank rank);
  void put_idle_above(Rank rank, Rank below);
  void drop_idle(Rank rank);
  void push_busy(Rank rank);
  void drop_busy(Rank rank);
  void finished_one(Rank rank);
  void grant(Rank rank, bool granted);
  void revoke_grants();

  // immutable after construction
  std::uint32_t cpus_;
  SchedulerTuning tuning_;
  // the workers
  std::vector<Place> places_;
  std::vector<Rank> busy_;
  Rank idle_top_ = kNone;          // most recently idle
  Rank idle_bottom_ = kNone;       // those that are starting lie below all others
  std::uint32_t open_ = 0;         // places that may be given tasks
  std::uint32_t awake_ = 0;        // busy, or idle with a grant
  std::uint64_t estimate_ns_ = 0;  // of one task; 0: not known yet
  std::vector<Rank> changed_;
};

}  // namespace owngil::runtime

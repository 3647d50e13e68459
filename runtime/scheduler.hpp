// SPDX-License-Identifier: BSD-3-Clause
// Decides which worker gets a task, how many may wait in its ring, and who may spin.
//
// Pure: no clock, no thread, no memory of anybody else's. The supervisor tells it what happened
//   and does what it says; tests play it under virtual time.
// Threads: none; guarded by the supervisor's mutex.
// Invariants:
//   S1  An idle worker that is awake is chosen before any other, the most recently idle first;
//       one that has just been added comes last, for it may still be starting.
//   S2  No worker has more than depth() tasks outstanding.
//   S3  Workers that are busy or may spin, plus one spinning caller, never exceed the CPUs,
//       unless busy workers alone do.
//   S4  While a worker is idle and nothing waits in the backlog, victim() names a worker whose
//       ring holds a task behind one that has run for longer than a wake-up is worth.
#pragma once

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
  // A ring never holds more; leaves room in it for blobs.
  std::uint32_t max_depth = 192;
};

class Scheduler {
 public:
  Scheduler(std::uint32_t workers, std::uint32_t cpus, SchedulerTuning tuning = {});

  // --- what happened
  void add(Rank rank);     // a worker took up this place; it is idle
  void remove(Rank rank);  // it is gone, and so is what was outstanding there
  void close(Rank rank);   // nothing more for it, though it still works off what it has
  void completed(Rank rank, std::uint64_t run_ns);
  void withdrawn(Rank rank);  // a task was taken back from its ring

  // --- what to do
  // The worker for the next task, now counted as outstanding there; nothing: it has to wait.
  // `is_asleep(rank)` tells whether an idle worker would have to be woken, `running_ns(rank)` for
  // how long a busy one's present task has run.
  template <class IsAsleep, class RunningNs>
  std::optional<Rank> assign(IsAsleep&& is_asleep, RunningNs&& running_ns) {
    if (idle_top_ != kNone) {
      if (!is_asleep(idle_top_)) return take(idle_top_);
      const Rank busy = cheap_busy();
      const bool stuck = busy != kNone && running_ns(busy) >= tuning_.wake_ns;
      return take(busy != kNone && !stuck ? busy : idle_top_);
    }
    const Rank least = least_loaded(depth());
    if (least == kNone) return std::nullopt;
    return take(least);
  }

  // The most recently idle worker, whether it sleeps or not; nothing: there is none.
  std::optional<Rank> assign_to_idle() {
    if (idle_top_ == kNone) return std::nullopt;
    return take(idle_top_);
  }

  // With a worker idle: whose ring to take a task back from. `running_ns(rank)` tells for how
  // long its present task has run.
  template <class RunningNs>
  std::optional<Rank> victim(RunningNs&& running_ns) const {
    if (idle_top_ == kNone) return std::nullopt;
    Rank best = kNone;
    for (Rank rank : busy_) {
      const Place& place = places_[rank];
      if (place.outstanding < 2) continue;
      const std::uint64_t queued = (place.outstanding - 1) * estimate_ns_;
      if (queued < tuning_.wake_ns && running_ns(rank) < tuning_.wake_ns) continue;
      if (best == kNone || place.outstanding > places_[best].outstanding) best = rank;
    }
    if (best == kNone) return std::nullopt;
    return best;
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
    bool open = false;     // may be given tasks
    bool granted = false;  // may spin when it runs out of work
    Rank idle_above = kNone;
    Rank idle_below = kNone;
    std::uint32_t busy_index = 0;
  };

  Rank take(Rank rank);
  Rank cheap_busy() const;
  Rank least_loaded(std::uint64_t limit) const;
  void push_idle(Rank rank);
  void push_idle_last(Rank rank);
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
  std::uint32_t awake_ = 0;        // busy, or idle with a grant
  std::uint64_t estimate_ns_ = 0;  // of one task; 0: not known yet
  std::vector<Rank> changed_;
};

}  // namespace owngil::runtime

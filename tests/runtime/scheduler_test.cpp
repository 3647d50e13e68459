// SPDX-License-Identifier: BSD-3-Clause
// The scheduler under virtual time: first its rules one by one, then whole schedules at random.
#include "runtime/scheduler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <random>
#include <vector>

namespace owngil::runtime {
namespace {

constexpr auto kAny = [](Rank) { return true; };
constexpr auto kAwake = [](Rank) { return false; };
constexpr auto kAsleep = [](Rank) { return true; };
constexpr auto kBrief = [](Rank) { return std::uint64_t{0}; };

Scheduler with_workers(std::uint32_t workers, std::uint32_t cpus, Lanes lanes = {}) {
  Scheduler scheduler(cpus, {}, lanes);
  for (Rank rank = 0; rank < workers; ++rank) {
    scheduler.add(rank);
    scheduler.came_up(rank);
  }
  return scheduler;
}

TEST(Scheduler, GivesEveryTaskOfASequentialCallerToTheSameWorker) {
  Scheduler scheduler = with_workers(4, 4);
  const auto first = scheduler.assign(Choice::first, kAwake, kBrief);
  ASSERT_TRUE(first);
  scheduler.completed(*first, 100);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), first);
    scheduler.completed(*first, 100);
  }
}

TEST(Scheduler, ChoosesTheMostRecentlyIdleWorker) {
  Scheduler scheduler = with_workers(3, 4);
  const auto a = scheduler.assign(Choice::first, kAwake, kBrief);
  const auto b = scheduler.assign(Choice::first, kAwake, kBrief);
  const auto c = scheduler.assign(Choice::first, kAwake, kBrief);
  scheduler.completed(*b, 100);
  scheduler.completed(*c, 100);
  scheduler.completed(*a, 100);
  EXPECT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), a);
  EXPECT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), c);
  EXPECT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), b);
}

TEST(Scheduler, LetsATaskWaitWhenEveryRingIsAsDeepAsItMayBe) {
  Scheduler scheduler = with_workers(2, 2);
  const std::uint32_t depth = scheduler.depth();
  for (std::uint32_t i = 0; i < 2 * depth; ++i)
    EXPECT_TRUE(scheduler.assign(Choice::first, kAwake, kBrief));
  EXPECT_FALSE(scheduler.assign(Choice::first, kAwake, kBrief));
  EXPECT_EQ(scheduler.outstanding(0), depth);
  EXPECT_EQ(scheduler.outstanding(1), depth);
}

TEST(Scheduler, KeepsRingsShallowForLongTasksAndDeepForShortOnes) {
  Scheduler scheduler = with_workers(1, 2);
  static_cast<void>(scheduler.assign(Choice::first, kAwake, kBrief));
  scheduler.completed(0, 10'000'000);
  EXPECT_EQ(scheduler.depth(), 2U);
  for (int i = 0; i < 200; ++i) {
    static_cast<void>(scheduler.assign(Choice::first, kAwake, kBrief));
    scheduler.completed(0, 300);
  }
  EXPECT_GT(scheduler.depth(), 100U);
}

TEST(Scheduler, BelievesInALongTaskAtOnce) {
  Scheduler scheduler = with_workers(1, 2);
  for (int i = 0; i < 50; ++i) {
    static_cast<void>(scheduler.assign(Choice::first, kAwake, kBrief));
    scheduler.completed(0, 300);
  }
  static_cast<void>(scheduler.assign(Choice::first, kAwake, kBrief));
  scheduler.completed(0, 50'000'000);
  EXPECT_EQ(scheduler.depth(), 2U);
}

TEST(Scheduler, QueuesTinyTasksRatherThanWakeASleepingWorker) {
  Scheduler scheduler = with_workers(2, 4);
  const auto first = scheduler.assign(Choice::first, kAwake, kBrief);
  scheduler.completed(*first, 300);
  ASSERT_EQ(scheduler.assign(Choice::first, kAsleep, kBrief), first);
  EXPECT_EQ(scheduler.assign(Choice::first, kAsleep, kBrief), first);
}

TEST(Scheduler, WakesASleepingWorkerRatherThanQueueBehindALongTask) {
  Scheduler scheduler = with_workers(2, 4);
  const auto first = scheduler.assign(Choice::first, kAwake, kBrief);
  scheduler.completed(*first, 300);
  ASSERT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), first);
  EXPECT_NE(scheduler.assign(Choice::first, kAsleep, [](Rank) { return std::uint64_t{1'000'000}; }),
            first);
}

TEST(Scheduler, WakesASleepingWorkerForTasksOfUnknownLength) {
  Scheduler scheduler = with_workers(2, 4);
  const auto first = scheduler.assign(Choice::first, kAsleep, kBrief);
  EXPECT_NE(scheduler.assign(Choice::first, kAsleep, kBrief), first);
}

TEST(Scheduler, NamesAVictimOnceATaskIsStuckBehindALongOne) {
  Scheduler scheduler = with_workers(2, 2);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(scheduler.assign(Choice::first, kAwake, kBrief));
  scheduler.completed(1, 1'000);
  scheduler.completed(1, 1'000);
  EXPECT_FALSE(scheduler.victim(Choice::first, [](Rank) { return std::uint64_t{1'000}; }));
  EXPECT_EQ(scheduler.victim(Choice::first, [](Rank) { return std::uint64_t{100'000}; }), Rank{0});
}

TEST(Scheduler, NamesNoVictimWhileEveryWorkerIsBusy) {
  Scheduler scheduler = with_workers(2, 2);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(scheduler.assign(Choice::first, kAwake, kBrief));
  EXPECT_FALSE(scheduler.victim(Choice::first, [](Rank) { return std::uint64_t{1} << 40; }));
}

TEST(Scheduler, GivesNothingToAClosedWorker) {
  Scheduler scheduler = with_workers(2, 2);
  scheduler.close(0);
  for (std::uint32_t i = 0; i < scheduler.depth(); ++i) {
    EXPECT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), Rank{1});
  }
  EXPECT_FALSE(scheduler.assign(Choice::first, kAwake, kBrief));
}

TEST(Scheduler, GivesTasksAgainToAWorkerThatIsReopened) {
  Scheduler scheduler = with_workers(1, 2);
  scheduler.close(0);
  ASSERT_FALSE(scheduler.assign(Choice::first, kAwake, kBrief));
  scheduler.reopen(0);
  EXPECT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), Rank{0});
}

TEST(Scheduler, ReopensABusyWorkerForWhenItIsIdleAgain) {
  Scheduler scheduler = with_workers(1, 2);
  ASSERT_TRUE(scheduler.assign(Choice::first, kAwake, kBrief));
  scheduler.close(0);
  scheduler.reopen(0);
  scheduler.completed(0, 100);
  EXPECT_TRUE(scheduler.any_idle(Choice::first));
  EXPECT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), Rank{0});
}

TEST(Scheduler, ChoosesAStartingWorkerOnlyWhereNobodyElseIsIdle) {
  Scheduler scheduler = with_workers(2, 4);
  scheduler.remove(0);
  scheduler.add(0);
  EXPECT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), Rank{1});
  EXPECT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), Rank{0});
}

TEST(Scheduler, KeepsStartingWorkersBelowThoseThatCameUp) {
  Scheduler scheduler(4);
  for (Rank rank = 0; rank < 4; ++rank) scheduler.add(rank);
  scheduler.came_up(3);
  scheduler.came_up(1);
  std::vector<Rank> order;
  while (scheduler.any_idle(Choice::first))
    order.push_back(*scheduler.assign_to_idle(Choice::first, kAny));
  EXPECT_EQ(order, (std::vector<Rank>{3, 1, 0, 2}));
}

TEST(Scheduler, PassesOverIdleWorkersThatHaveNoRoom) {
  Scheduler scheduler(4);
  for (Rank rank = 0; rank < 3; ++rank) scheduler.add(rank);
  for (Rank rank = 0; rank < 3; ++rank) scheduler.came_up(rank);
  const auto has_room = [](Rank rank) { return rank != 0; };
  EXPECT_EQ(scheduler.assign_to_idle(Choice::first, has_room), Rank{1});
  EXPECT_EQ(scheduler.assign_to_idle(Choice::first, has_room), Rank{2});
  EXPECT_EQ(scheduler.assign_to_idle(Choice::first, has_room), std::nullopt);
  EXPECT_EQ(scheduler.assign_to_idle(Choice::first, kAny), Rank{0});
}

TEST(Scheduler, NamesAStartingWorkerAsAVictimOnceAnotherIsIdle) {
  Scheduler scheduler = with_workers(2, 2);
  scheduler.remove(0);
  scheduler.add(0);
  ASSERT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), Rank{1});
  ASSERT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), Rank{0});
  EXPECT_FALSE(scheduler.victim(Choice::first, kBrief));
  scheduler.completed(1, 100);
  EXPECT_TRUE(scheduler.any_queued());
  EXPECT_EQ(scheduler.victim(Choice::first, kBrief), Rank{0});
}

TEST(Scheduler, NamesNoStartingWorkerForOneThatIsItselfStarting) {
  Scheduler scheduler(2);
  scheduler.add(0);
  scheduler.add(1);
  ASSERT_TRUE(scheduler.assign(Choice::first, kAwake, kBrief));
  EXPECT_FALSE(scheduler.any_queued());
  EXPECT_FALSE(scheduler.victim(Choice::first, kBrief));
}

TEST(Scheduler, WantsOneMoreWorkerForWhatWaitsWhenThereIsNone) {
  const Scheduler scheduler(2);
  EXPECT_TRUE(scheduler.is_worth_starting(Choice::first, 1, kBrief));
  EXPECT_FALSE(scheduler.is_worth_starting(Choice::first, 0, kBrief));
}

TEST(Scheduler, WantsNoMoreWorkersWhileOneIsIdleOrNothingWaits) {
  Scheduler scheduler = with_workers(2, 2);
  EXPECT_FALSE(scheduler.is_worth_starting(Choice::first, 0, kBrief));
  ASSERT_TRUE(scheduler.assign(Choice::first, kAwake, kBrief));
  EXPECT_FALSE(scheduler.is_worth_starting(Choice::first, 1, kBrief));
  ASSERT_TRUE(scheduler.assign(Choice::first, kAwake, kBrief));
  EXPECT_FALSE(scheduler.is_worth_starting(Choice::first, 0, kBrief));
}

TEST(Scheduler, WantsOneMoreWorkerOnceMoreWaitsThanAStartIsWorth) {
  Scheduler scheduler = with_workers(1, 2);
  ASSERT_TRUE(scheduler.assign(Choice::first, kAwake, kBrief));
  scheduler.completed(0, 1'000);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(scheduler.assign(Choice::first, kAwake, kBrief));
  EXPECT_FALSE(scheduler.is_worth_starting(Choice::first, 0, kBrief));
  EXPECT_TRUE(scheduler.is_worth_starting(Choice::first, 5'000, kBrief));
  EXPECT_TRUE(scheduler.is_worth_starting(Choice::first, 0,
                                          [](Rank) { return std::uint64_t{10'000'000}; }));
}

TEST(Scheduler, BarsAWorkerWhileItsPartnerHasTasks) {
  Scheduler scheduler = with_workers(4, 4, Lanes{.paired = true});
  const auto one = scheduler.assign(Choice::first, kAwake, kBrief);
  const auto other = scheduler.assign(Choice::fallback, kAwake, kBrief);
  ASSERT_TRUE(one && other);
  EXPECT_NE(*other, Lanes::partner_of(*one));
  EXPECT_TRUE(scheduler.is_barred(Lanes::partner_of(*one)));
  EXPECT_FALSE(scheduler.any_idle(Choice::first));
  EXPECT_FALSE(scheduler.any_idle(Choice::fallback));
  scheduler.completed(*one, 100);
  EXPECT_TRUE(scheduler.any_idle(Choice::first));
  EXPECT_TRUE(scheduler.any_idle(Choice::fallback));
}

TEST(Scheduler, QueuesATaskOnlyBehindThoseOfItsChoice) {
  Scheduler scheduler = with_workers(2, 2, Lanes{.paired = true});
  const auto first = scheduler.assign(Choice::first, kAwake, kBrief);
  ASSERT_TRUE(first);
  EXPECT_FALSE(scheduler.assign(Choice::fallback, kAwake, kBrief));
  EXPECT_EQ(scheduler.assign(Choice::first, kAwake, kBrief), first);
}

TEST(Scheduler, WantsAWorkerOfTheFallbackOnceATaskForItWaits) {
  Scheduler scheduler(2, {}, Lanes{.paired = true});
  scheduler.add(0);
  scheduler.came_up(0);
  EXPECT_FALSE(scheduler.is_worth_starting(Choice::fallback, 0, kBrief));
  EXPECT_TRUE(scheduler.is_worth_starting(Choice::fallback, 1, kBrief));
}

TEST(Scheduler, LetsNobodySpinOnASingleCpu) {
  Scheduler scheduler = with_workers(1, 1);
  static_cast<void>(scheduler.assign(Choice::first, kAwake, kBrief));
  EXPECT_FALSE(scheduler.may_spin(0));
  EXPECT_FALSE(scheduler.caller_may_spin());
}

TEST(Scheduler, LetsALoneCallerSpinWithOneWorkerWhenWorkersEqualCpus) {
  Scheduler scheduler = with_workers(2, 2);
  const auto worker = scheduler.assign(Choice::first, kAwake, kBrief);
  EXPECT_TRUE(scheduler.may_spin(*worker));
  EXPECT_TRUE(scheduler.caller_may_spin());
}

// One place of the model: who is there, what it runs until when, and what waits in its ring.
struct ModelWorker {
  bool present = true;
  bool is_leaving = false;               // closed; it goes when it has nothing left
  std::optional<std::uint64_t> up_at;    // it is starting until then
  std::optional<std::uint64_t> running;  // length of the task
  std::uint64_t begun = 0;
  std::deque<std::uint64_t> ring;
};

// Plays a supervisor that acts at once on every event, under virtual time.
class Model {
 public:
  Model(std::uint32_t workers, std::uint32_t cpus, std::uint64_t seed, Lanes lanes = {})
      : lanes_(lanes),
        scheduler_(with_workers(lanes.ranks(workers), cpus, lanes)),
        workers_(lanes.ranks(workers)),
        cpus_(cpus),
        random_(seed) {}

  void submit(std::uint64_t length) {
    backlog_.push_back(length);
    settle();
  }

  // Lets the event happen that comes first: a task ends, or a worker comes up. False: there is none.
  bool step() {
    std::optional<Rank> next;
    for (Rank rank = 0; rank < workers_.size(); ++rank) {
      if (event_of(rank) && (!next || *event_of(rank) < *event_of(*next))) next = rank;
    }
    // Time also passes without an event: the supervisor looks again while tasks are queued.
    const bool any_idle =
        scheduler_.any_idle(Choice::first) || scheduler_.any_idle(Choice::fallback);
    if (next && (any_idle || any_vacant()) && scheduler_.any_queued()) {
      const std::uint64_t look = now_ + 50'000;
      if (look < *event_of(*next)) {
        now_ = look;
        settle();
        return true;
      }
    }
    if (!next) return false;
    now_ = *event_of(*next);
    ModelWorker& worker = workers_[*next];
    if (worker.up_at) {
      worker.up_at.reset();
      scheduler_.came_up(*next);
    } else {
      scheduler_.completed(*next, *worker.running);
      ++completed_;
      worker.running.reset();
    }
    begin(*next);
    settle();
    return true;
  }

  // The task that it runs is lost, the rest waits again.
  void die(Rank rank) {
    ModelWorker& worker = workers_[rank];
    if (!worker.present) return;
    completed_ += worker.running ? 1 : 0;
    take_back_all(rank, false);
    scheduler_.remove(rank);
    worker = ModelWorker{};
    worker.present = false;
    settle();
  }

  // It goes when its present task has ended.
  void dismiss(Rank rank) {
    ModelWorker& worker = workers_[rank];
    if (!worker.present || worker.is_leaving) return;
    worker.is_leaving = true;
    scheduler_.close(rank);
    take_back_all(rank, true);
    settle();
  }

  void readmit(Rank rank) {
    ModelWorker& worker = workers_[rank];
    if (!worker.present || !worker.is_leaving) return;
    worker.is_leaving = false;
    scheduler_.reopen(rank);
    settle();
  }

  void check() {
    std::uint32_t busy = 0;
    std::uint32_t awake = 0;
    for (Rank rank = 0; rank < workers_.size(); ++rank) {
      const ModelWorker& worker = workers_[rank];
      const auto held = static_cast<std::uint32_t>(worker.ring.size() + (worker.running ? 1 : 0));
      ASSERT_EQ(scheduler_.outstanding(rank), held);
      ASSERT_LE(held, 192U);
      ASSERT_TRUE(worker.present || (held == 0 && !scheduler_.may_spin(rank)));
      busy += held > 0 ? 1 : 0;
      awake += held > 0 || scheduler_.may_spin(rank) ? 1 : 0;
      if (lanes_.paired && held > 0) {  // S6
        ASSERT_EQ(scheduler_.outstanding(Lanes::partner_of(rank)), 0U);
        ASSERT_FALSE(scheduler_.may_spin(Lanes::partner_of(rank)));
      }
    }
    // S3
    ASSERT_LE(awake + 1, std::max(cpus_, busy + 1));
    if (scheduler_.caller_may_spin()) {
      ASSERT_LE(awake + 1, cpus_);
    }
    for (const Choice choice : {Choice::first, Choice::fallback}) {
      check_progress(choice);
      if (testing::Test::HasFatalFailure()) return;
    }
  }

  // That no task which a worker of that choice could run waits for long.
  void check_progress(Choice choice) {
    if (!scheduler_.any_idle(choice)) {
      // S5: nothing is stuck for longer than a start takes while a place is free.
      if (!any_vacant(choice)) return;
      for (Rank rank = 0; rank < workers_.size(); ++rank) {
        const ModelWorker& worker = workers_[rank];
        if (lanes_.choice_of(rank) == choice && worker.running && !worker.ring.empty()) {
          ASSERT_LT(now_ - worker.begun, 5'000'000U);
        }
      }
      return;
    }
    // S4: nothing is stuck behind a long task, or a start, while somebody is idle.
    ASSERT_TRUE(backlog_.empty() || choice_for(backlog_.front()) != choice);
    if (!backlog_.empty()) return;  // the other kind's turn comes first
    bool is_anybody_up = false;
    for (Rank rank = 0; rank < workers_.size(); ++rank) {
      const ModelWorker& worker = workers_[rank];
      is_anybody_up |= lanes_.choice_of(rank) == choice && worker.present && !worker.is_leaving &&
                       !worker.up_at && !worker.running && worker.ring.empty() &&
                       !scheduler_.is_barred(rank);
    }
    for (Rank rank = 0; rank < workers_.size(); ++rank) {
      const ModelWorker& worker = workers_[rank];
      if (lanes_.choice_of(rank) != choice) continue;
      if (worker.running && !worker.ring.empty()) {
        ASSERT_LT(now_ - worker.begun, 50'000U);
      }
      if (worker.up_at && is_anybody_up) {
        ASSERT_TRUE(worker.ring.empty());
      }
    }
  }

  std::uint64_t completed() const { return completed_; }
  std::uint64_t now() const { return now_; }
  std::uint64_t starts() const { return starts_; }

 private:
  // When something happens in this place.
  std::optional<std::uint64_t> event_of(Rank rank) const {
    const ModelWorker& worker = workers_[rank];
    if (worker.up_at) return worker.up_at;
    if (worker.running) return worker.begun + *worker.running;
    return std::nullopt;
  }

  // Which workers run a task of that length.
  Choice choice_for(std::uint64_t length) const {
    return lanes_.paired && length % 2 != 0 ? Choice::fallback : Choice::first;
  }

  bool any_vacant() const { return any_vacant(Choice::first) || any_vacant(Choice::fallback); }

  // A seat that could be filled with somebody who is not barred.
  bool any_vacant(Choice choice) const {
    for (Rank rank = 0; rank < workers_.size(); ++rank) {
      if (lanes_.choice_of(rank) == choice && !workers_[rank].present &&
          !scheduler_.is_barred(rank)) {
        return true;
      }
    }
    return false;
  }

  std::uint64_t waiting_for(Choice choice) const {
    const auto end = std::find_if(backlog_.begin(), backlog_.end(), [&](std::uint64_t length) {
      return choice_for(length) != choice;
    });
    return static_cast<std::uint64_t>(end - backlog_.begin());
  }

  void begin(Rank rank) {
    ModelWorker& worker = workers_[rank];
    if (worker.running || worker.up_at || worker.ring.empty()) return;
    worker.running = worker.ring.front();
    worker.ring.pop_front();
    worker.begun = now_;
  }

  void take_back_all(Rank rank, bool tell) {
    ModelWorker& worker = workers_[rank];
    while (!worker.ring.empty()) {
      backlog_.push_front(worker.ring.back());
      worker.ring.pop_back();
      if (tell) scheduler_.withdrawn(rank);
    }
  }

  void settle() {
    for (Rank rank = 0; rank < workers_.size(); ++rank) {
      ModelWorker& worker = workers_[rank];
      if (worker.is_leaving && !worker.running && worker.ring.empty()) {
        scheduler_.remove(rank);
        worker = ModelWorker{};
        worker.present = false;
      }
    }
    dispatch();
    for (Rank rank = 0; rank < workers_.size(); ++rank) {
      const Choice choice = lanes_.choice_of(rank);
      if (workers_[rank].present || scheduler_.is_barred(rank) ||
          !scheduler_.is_worth_starting(choice, waiting_for(choice), running_)) {
        continue;
      }
      workers_[rank].present = true;
      workers_[rank].up_at = now_ + 1'000'000 + random_() % 20'000'000;
      scheduler_.add(rank);
      ++starts_;
      dispatch();
    }
  }

  void dispatch() {
    const auto maybe_asleep = [this](Rank) { return random_() % 2 == 0; };
    while (!backlog_.empty()) {
      const auto rank = scheduler_.assign(choice_for(backlog_.front()), maybe_asleep, running_);
      if (!rank) break;
      ASSERT_TRUE(workers_[*rank].present && !workers_[*rank].is_leaving);
      workers_[*rank].ring.push_back(backlog_.front());
      backlog_.pop_front();
      begin(*rank);
    }
    if (!backlog_.empty()) return;
    bool is_settled = false;
    while (!is_settled) {
      const bool moved = move_queued(Choice::first);
      is_settled = !move_queued(Choice::fallback) && !moved;
      if (testing::Test::HasFatalFailure()) return;
    }
  }

  bool move_queued(Choice choice) {
    bool moved = false;
    while (const auto victim = scheduler_.victim(choice, running_)) {
      ModelWorker& worker = workers_[*victim];
      EXPECT_FALSE(worker.ring.empty());
      const std::uint64_t task = worker.ring.front();
      worker.ring.pop_front();
      scheduler_.withdrawn(*victim);
      const auto rank = scheduler_.assign_to_idle(choice, kAny);
      EXPECT_TRUE(rank);
      workers_[rank.value()].ring.push_back(task);
      begin(*rank);
      moved = true;
    }
    return moved;
  }

  Lanes lanes_;
  Scheduler scheduler_;
  std::vector<ModelWorker> workers_;
  std::uint32_t cpus_;
  std::deque<std::uint64_t> backlog_;
  std::mt19937_64 random_;
  std::uint64_t now_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t starts_ = 0;
  const std::function<std::uint64_t(Rank)> running_ = [this](Rank rank) {
    return workers_[rank].running ? now_ - workers_[rank].begun : std::uint64_t{0};
  };
};

// From 0.1 us to 50 ms, evenly on a logarithmic scale.
std::uint64_t random_length(std::mt19937_64& random) {
  const double exponent = static_cast<double>(random() % 5'700) / 1'000 + 2;
  return static_cast<std::uint64_t>(std::pow(10.0, exponent));
}

TEST(SchedulerModel, HoldsItsInvariantsInRandomSchedules) {
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto workers = static_cast<std::uint32_t>(1 + random() % 6);
    const auto cpus = static_cast<std::uint32_t>(1 + random() % 8);
    Model model(workers, cpus, seed, Lanes{.paired = seed % 2 != 0});
    std::uint64_t submitted = 0;
    for (int event = 0; event < 400; ++event) {
      if (random() % 2 == 0) {
        model.submit(random_length(random));
        ++submitted;
      } else {
        model.step();
      }
      model.check();
      if (HasFatalFailure()) return;
    }
    while (model.step()) {
      model.check();
      if (HasFatalFailure()) return;
    }
    EXPECT_EQ(model.completed(), submitted);
  }
}

TEST(SchedulerModel, LosesNothingWhileWorkersComeAndGo) {
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto workers = static_cast<std::uint32_t>(1 + random() % 6);
    const Lanes lanes{.paired = seed % 2 != 0};
    Model model(workers, static_cast<std::uint32_t>(1 + random() % 8), seed, lanes);
    std::uint64_t submitted = 0;
    for (int event = 0; event < 400; ++event) {
      const auto rank = static_cast<Rank>(random() % lanes.ranks(workers));
      switch (random() % 8) {
        case 0: model.die(rank); break;
        case 1: model.dismiss(rank); break;
        case 2: model.readmit(rank); break;
        case 3:
        case 4:
        case 5:
          model.submit(random_length(random));
          ++submitted;
          break;
        default: model.step();
      }
      model.check();
      if (HasFatalFailure()) return;
    }
    while (model.step()) {
      model.check();
      if (HasFatalFailure()) return;
    }
    EXPECT_EQ(model.completed(), submitted);
  }
}

TEST(SchedulerModel, StartsNoSecondWorkerForOneShortTaskAfterTheOther) {
  Model model(4, 4, 0);
  for (Rank rank = 0; rank < 4; ++rank) model.dismiss(rank);
  for (int i = 0; i < 50; ++i) {
    model.submit(10'000);
    while (model.step()) {
    }
  }
  EXPECT_EQ(model.completed(), 50U);
  EXPECT_EQ(model.starts(), 1U);
}

TEST(SchedulerModel, EndsAMixOfLengthsAsSoonAsASharedQueueWould) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    std::vector<std::uint64_t> lengths(400);
    for (auto& length : lengths) length = 10'000 + random() % 50'000'000;
    Model model(2, 2, seed);
    for (const std::uint64_t length : lengths) model.submit(length);
    while (model.step()) {
    }
    // List scheduling in the same order, without any ring.
    std::vector<std::uint64_t> free(2, 0);
    for (const std::uint64_t length : lengths) {
      *std::min_element(free.begin(), free.end()) += length;
    }
    const std::uint64_t ideal = *std::max_element(free.begin(), free.end());
    EXPECT_LE(model.now(), ideal + ideal / 200);
  }
}

}  // namespace
}  // namespace owngil::runtime

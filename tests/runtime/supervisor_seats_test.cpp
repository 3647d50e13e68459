// SPDX-License-Identifier: BSD-3-Clause
// Workers that come and go: resizing, idle timeouts, recycling, losses. Nothing is lost or run
// twice in any of it.
#include "tests/runtime/supervisor_fixture.hpp"

#include <algorithm>
#include <atomic>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace owngil::runtime {
namespace {

constexpr std::uint64_t kPatienceNs = 30'000'000'000;
constexpr std::uint64_t kAnInstantNs = 1'000'000;

class SeatsTest : public SupervisorTest {
 protected:
  static SupervisorOptions with(std::uint32_t workers) {
    SupervisorOptions options;
    options.workers = workers;
    return options;
  }

  // Fails when it stays false.
  template <class Condition>
  static void await(Condition&& condition) {
    const std::uint64_t end = ipc::now_ns() + kPatienceNs;
    while (!condition()) {
      ASSERT_LT(ipc::now_ns(), end);
      std::this_thread::yield();
    }
  }

  std::uint64_t count(LinkState state) {
    const Snapshot snapshot = supervisor_->snapshot();
    return static_cast<std::uint64_t>(
        std::count_if(snapshot.workers.begin(), snapshot.workers.end(),
                      [state](const WorkerSnapshot& worker) { return worker.state == state; }));
  }

  pid_t pid_of(Rank rank) { return supervisor_->snapshot().workers[rank].pid; }

  // Kills an idle worker, and waits until the supervisor has noticed.
  void kill_idle(Rank rank) {
    await([&] { return supervisor_->is_broken() || is_up(rank); });
    const std::uint64_t before = supervisor_->snapshot().restarts;
    world_.kill_from_outside(PlayedWorkers::key_of(pid_of(rank)));
    await([&] { return supervisor_->snapshot().restarts > before; });
  }

  bool is_up(Rank rank) {
    return supervisor_->snapshot().workers[rank].state == LinkState::running;
  }
};

// --- resize

TEST_F(SeatsTest, RunsAsManyTasksAtOnceAsItHasBeenResizedTo) {
  open(1);
  EXPECT_EQ(supervisor_->resize(4), Admission::admitted);
  EXPECT_EQ(world_.launches(), 4U);
  std::vector<Task*> held;
  for (int i = 0; i < 4; ++i) held.push_back(&submit("hold"));
  await([&] { return world_.runs("hold") == 4; });
  world_.open();
  for (Task* task : held) EXPECT_EQ(ending(*task), Ending::returned);
}

TEST_F(SeatsTest, LetsIdleWorkersGoAtOnceWhenItBecomesSmaller) {
  open(4);
  EXPECT_EQ(supervisor_->resize(1), Admission::admitted);
  EXPECT_EQ(supervisor_->snapshot().workers.size(), 1U);
  await([&] { return supervisor_->snapshot().leaving == 0; });
  EXPECT_EQ(world_.alive(), 1U);
  EXPECT_EQ(supervisor_->snapshot().restarts, 0U);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
}

TEST_F(SeatsTest, LetsABusyWorkerEndItsTaskAndRunsElsewhereWhatWaitsInItsRing) {
  open(3);
  std::vector<Task*> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(&submit("hold"));
  await([&] { return world_.runs("hold") == 3; });
  for (int i = 0; i < 20; ++i) tasks.push_back(&submit("echo " + std::to_string(i)));
  EXPECT_EQ(supervisor_->resize(1), Admission::admitted);
  EXPECT_EQ(supervisor_->snapshot().leaving, 2U);
  world_.open();
  for (Task* task : tasks) EXPECT_EQ(ending(*task), Ending::returned);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(world_.runs("echo " + std::to_string(i)), 1);
  EXPECT_EQ(world_.runs("hold"), 3);
  await([&] { return world_.alive() == 1; });
}

TEST_F(SeatsTest, KeepsABusyWorkerWhenItBecomesLargerAgainBeforeThatHasLeft) {
  open(2);
  Task& first = submit("hold");
  Task& second = submit("hold");
  await([&] { return world_.runs("hold") == 2; });
  EXPECT_EQ(supervisor_->resize(1), Admission::admitted);
  EXPECT_EQ(supervisor_->resize(2), Admission::admitted);
  EXPECT_EQ(world_.launches(), 2U);
  world_.open();
  EXPECT_EQ(ending(first), Ending::returned);
  EXPECT_EQ(ending(second), Ending::returned);
  EXPECT_EQ(supervisor_->snapshot().leaving, 0U);
  EXPECT_EQ(world_.alive(), 2U);
}

TEST_F(SeatsTest, StartsANewWorkerInTheSeatOfOneThatIsStillLeaving) {
  open(2);
  world_.hold_ends(true);
  EXPECT_EQ(supervisor_->resize(1), Admission::admitted);
  EXPECT_EQ(supervisor_->resize(2), Admission::admitted);
  EXPECT_EQ(world_.launches(), 3U);
  EXPECT_EQ(supervisor_->snapshot().leaving, 1U);
  world_.hold_ends(false);
  await([&] { return supervisor_->snapshot().leaving == 0; });
}

TEST_F(SeatsTest, NeverHasMoreProcessesThanTwiceItsSizeHoweverSlowlyTheyLeave) {
  open(2);
  world_.hold_ends(true);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(supervisor_->resize(1), Admission::admitted);
    EXPECT_EQ(supervisor_->resize(2), Admission::admitted);
    EXPECT_LE(world_.alive(), 4U);
  }
  world_.hold_ends(false);
  await([&] { return supervisor_->snapshot().leaving == 0 && count(LinkState::running) == 2; });
}

TEST_F(SeatsTest, ReplacesALostWorkerThoughMoreThanEnoughAreAtTheirLastTask) {
  open(4);
  std::vector<Task*> held;
  for (int i = 0; i < 4; ++i) held.push_back(&submit("hold"));
  await([&] { return world_.runs("hold") == 4 && count(LinkState::running) == 4; });
  EXPECT_EQ(supervisor_->resize(1), Admission::admitted);
  world_.kill_from_outside(PlayedWorkers::key_of(pid_of(0)));
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  world_.open();
  int died = 0;
  for (Task* task : held) died += ending(*task) == Ending::died ? 1 : 0;
  EXPECT_EQ(died, 1);
}

TEST_F(SeatsTest, RefusesToBeResizedAfterShutdown) {
  open(1);
  supervisor_->shutdown(false);
  EXPECT_EQ(supervisor_->resize(2), Admission::closed);
}

TEST_F(SeatsTest, StaysAsItWasWhenTheSystemRefusesAnotherWorker) {
  open(1);
  world_.refuse_launches(2);
  EXPECT_THROW(static_cast<void>(supervisor_->resize(4)), std::system_error);
  EXPECT_EQ(supervisor_->snapshot().workers.size(), 1U);
  await([&] { return world_.alive() == 1; });
  EXPECT_FALSE(supervisor_->is_broken());
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
}

TEST_F(SeatsTest, CountsOnWhereARankHadStoppedWhenItComesBack) {
  open(1);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  EXPECT_EQ(supervisor_->resize(2), Admission::admitted);
  Task& held = submit("hold");
  Task& other = submit("hold");
  world_.open();
  EXPECT_EQ(ending(held), Ending::returned);
  EXPECT_EQ(ending(other), Ending::returned);
  const std::uint64_t done = supervisor_->snapshot().workers[1].tasks_done;
  EXPECT_EQ(supervisor_->resize(1), Admission::admitted);
  EXPECT_EQ(supervisor_->resize(2), Admission::admitted);
  EXPECT_EQ(supervisor_->snapshot().workers[1].tasks_done, done);
}

TEST_F(SeatsTest, LosesNothingWhileManyThreadsResizeAndSubmit) {
  open(2);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 3; ++number) {
    threads.emplace_back([&, number] {
      std::mt19937 random(static_cast<unsigned>(number));
      for (int i = 0; i < 150; ++i) {
        static_cast<void>(supervisor_->resize(1 + static_cast<std::uint32_t>(random() % 6)));
        const std::string payload = "echo " + std::to_string(number) + "/" + std::to_string(i);
        Task& task = submit(payload);
        if (result(task) != payload || world_.runs(payload) != 1) ++wrong;
        supervisor_->forget(task);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(supervisor_->resize(2), Admission::admitted);
  await([&] { return world_.alive() == 2; });
}

// --- idle workers

TEST_F(SeatsTest, LetsAllWorkersGoOnceTheyHaveBeenIdleForTooLong) {
  SupervisorOptions options = with(3);
  options.idle_timeout_ns = kAnInstantNs;
  open(options);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  await([&] { return count(LinkState::absent) == 3 && world_.alive() == 0; });
  EXPECT_EQ(supervisor_->snapshot().restarts, 0U);
  EXPECT_EQ(supervisor_->snapshot().recycled, 0U);
}

TEST_F(SeatsTest, StartsOneWorkerForOneTaskWhenAllHaveGone) {
  SupervisorOptions options = with(3);
  options.idle_timeout_ns = kAnInstantNs;
  open(options);
  await([&] { return count(LinkState::absent) == 3; });
  const std::uint64_t before = world_.launches();
  Task& held = submit("hold");
  await([&] { return world_.runs("hold") == 1; });
  EXPECT_EQ(world_.launches(), before + 1);
  world_.open();
  EXPECT_EQ(ending(held), Ending::returned);
}

TEST_F(SeatsTest, StartsOneMoreWorkerForATaskThatWouldWaitBehindALongOne) {
  SupervisorOptions options = with(2);
  options.idle_timeout_ns = kAnInstantNs;
  open(options);
  await([&] { return count(LinkState::absent) == 2; });
  Task& held = submit("hold");
  await([&] { return world_.runs("hold") == 1; });
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  world_.open();
  EXPECT_EQ(ending(held), Ending::returned);
}

TEST_F(SeatsTest, NoticesAnIdleWorkerThoughNobodyHasAskedForItsResult) {
  SupervisorOptions options = with(1);
  options.idle_timeout_ns = kAnInstantNs;
  open(options);
  Task& task = submit("echo");
  await([&] { return world_.alive() == 0; });
  EXPECT_EQ(ending(task), Ending::returned);
}

TEST_F(SeatsTest, NeverLetsAWorkerGoThatHasSomethingToDo) {
  SupervisorOptions options = with(2);
  options.idle_timeout_ns = kAnInstantNs;
  open(options);
  for (int i = 0; i < 500; ++i) {
    const std::string payload = "echo " + std::to_string(i);
    Task& task = submit(payload);
    if (i % 50 == 0) await([&] { return count(LinkState::absent) > 0; });
    EXPECT_EQ(result(task), payload);
    EXPECT_EQ(world_.runs(payload), 1);
    supervisor_->forget(task);
  }
  EXPECT_EQ(supervisor_->snapshot().restarts, 0U);
}

// --- recycling

TEST_F(SeatsTest, StartsTheNextWorkerOfASeatWhileTheOneBeforeIsStillLeaving) {
  open(1, 1);
  world_.hold_ends(true);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  EXPECT_EQ(supervisor_->snapshot().recycled, 2U);
  EXPECT_EQ(supervisor_->snapshot().leaving, 2U);
  world_.hold_ends(false);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
}

TEST_F(SeatsTest, GivesATaskToAnIdleWorkerRatherThanLetItWaitForOneThatStarts) {
  open(2, 2);
  await([&] { return count(LinkState::running) == 2; });
  Task& held = submit("hold");
  await([&] { return world_.runs("hold") == 1; });
  world_.hold_starts(true);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(ending(submit("echo")), Ending::returned);
  // The next worker of one seat does not come up; the other is in its first task, and may have one
  // more.
  Task& waiting = submit("echo waiting");
  world_.open();
  EXPECT_EQ(ending(held), Ending::returned);
  EXPECT_EQ(result(waiting), "echo waiting");
  supervisor_->forget(waiting);
  world_.hold_starts(false);
}

TEST_F(SeatsTest, CountsATaskThatWasTakenBackForNobody) {
  open(1, 2);
  Task& held = submit("hold");
  await([&] { return world_.runs("hold") == 1; });
  Task& queued = submit("echo");
  EXPECT_TRUE(supervisor_->cancel(queued, Running::spare));
  supervisor_->forget(queued);
  world_.open();
  EXPECT_EQ(ending(held), Ending::returned);
  EXPECT_EQ(supervisor_->snapshot().recycled, 0U);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  EXPECT_EQ(supervisor_->snapshot().recycled, 1U);
}

TEST_F(SeatsTest, ReplacesAWorkerThatHasTooMuchMemoryAndRunsElsewhereWhatItHadNotBegun) {
  SupervisorOptions options = with(1);
  options.max_memory_per_worker = 150;
  open(options);
  int submitted = 0;
  do {  // its memory is not looked at after each task
    std::vector<Task*> tasks;
    for (const int end = submitted + 200; submitted < end; ++submitted) {
      tasks.push_back(&submit("grow " + std::to_string(submitted)));
    }
    for (Task* task : tasks) EXPECT_EQ(ending(*task), Ending::returned);
  } while (supervisor_->snapshot().recycled == 0);
  for (int i = 0; i < submitted; ++i) EXPECT_EQ(world_.runs("grow " + std::to_string(i)), 1);
  EXPECT_EQ(supervisor_->snapshot().restarts, 0U);
}

TEST_F(SeatsTest, RunsWhatWaitsBehindAWorkerWithTooMuchMemoryThoughNobodyAsks) {
  SupervisorOptions options = with(1);
  options.max_memory_per_worker = 50;
  open(options);
  Task& first = submit("grow");
  Task& second = submit("echo second");
  await([&] { return world_.runs("echo second") == 1; });
  EXPECT_EQ(ending(first), Ending::returned);
  EXPECT_EQ(ending(second), Ending::returned);
}

// --- losses

TEST_F(SeatsTest, BreaksOnceMoreWorkersWereLostThanIsAllowed) {
  SupervisorOptions options = with(1);
  options.restarts = {3, 0, kPatienceNs};
  open(options);
  for (int i = 0; i < 3; ++i) {
    kill_idle(0);
    EXPECT_FALSE(supervisor_->is_broken());
  }
  kill_idle(0);
  ASSERT_TRUE(supervisor_->is_broken());
  EXPECT_EQ(supervisor_->broken_by().size(), 4U);
  EXPECT_EQ(supervisor_->broken_by().back().failure.wait_status, 9);
  Task* refused = nullptr;
  EXPECT_EQ(supervisor_->submit({function_, 0, ipc::Format::none, {}}, refused), Admission::broken);
  EXPECT_EQ(supervisor_->resize(2), Admission::broken);
}

TEST_F(SeatsTest, AllowsMoreLossesTheMoreWorkersItHas) {
  SupervisorOptions options = with(1);
  options.restarts = {0, 1, kPatienceNs};
  open(options);
  EXPECT_EQ(supervisor_->resize(3), Admission::admitted);
  for (Rank rank = 0; rank < 3; ++rank) kill_idle(rank);
  EXPECT_FALSE(supervisor_->is_broken());
  kill_idle(0);
  EXPECT_TRUE(supervisor_->is_broken());
}

TEST_F(SeatsTest, BlamesNoTaskOnThePoolHoweverManyKillTheirWorkers) {
  SupervisorOptions options = with(2);
  options.restarts = {0, 0, kPatienceNs};
  open(options);
  for (int i = 0; i < 30; ++i) EXPECT_EQ(ending(submit("die")), Ending::died);
  EXPECT_FALSE(supervisor_->is_broken());
  await([&] { return supervisor_->snapshot().restarts == 30; });
}

TEST_F(SeatsTest, CountsNoWorkerThatWasToldToLeave) {
  SupervisorOptions options = with(2);
  options.max_tasks_per_worker = 1;
  options.idle_timeout_ns = kAnInstantNs;
  options.restarts = {0, 0, kPatienceNs};
  open(options);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(ending(submit("echo")), Ending::returned);
    EXPECT_EQ(supervisor_->resize(1 + static_cast<std::uint32_t>(i % 2)), Admission::admitted);
  }
  await([&] { return world_.alive() == 0; });
  EXPECT_FALSE(supervisor_->is_broken());
}

TEST_F(SeatsTest, BreaksWhenNoWorkerCanBeStartedAndSaysWhy) {
  SupervisorOptions options = with(1);
  options.restarts = {2, 0, 1};
  world_.set_starts(PlayedWorkers::Start::fails);
  open(options);
  Task& task = submit("echo");
  EXPECT_EQ(ending(task), Ending::broken);
  EXPECT_EQ(world_.launches(), 3U);
  EXPECT_EQ(supervisor_->broken_by().back().reason, "there is no template");
}

TEST_F(SeatsTest, BreaksWhenWorkersEndBeforeTheyAreReady) {
  SupervisorOptions options = with(1);
  options.restarts = {2, 0, 1};
  world_.set_starts(PlayedWorkers::Start::is_stillborn);
  open(options);
  EXPECT_EQ(ending(submit("echo")), Ending::broken);
  EXPECT_EQ(world_.launches(), 3U);
  EXPECT_FALSE(supervisor_->broken_by().back().came_up);
}

TEST_F(SeatsTest, BreaksWhenTheSystemRefusesEveryStart) {
  SupervisorOptions options = with(1);
  options.restarts = {2, 0, 1};
  open(options);
  world_.refuse_launches();
  kill_idle(0);
  EXPECT_EQ(ending(submit("echo")), Ending::broken);
  EXPECT_EQ(world_.launches(), 1U);
}

TEST_F(SeatsTest, GoesOnOnceWorkersCanBeStartedAgain) {
  SupervisorOptions options = with(2);
  options.restarts = {RestartLimit::kNone, 0, 1};
  open(options);
  world_.set_starts(PlayedWorkers::Start::fails);
  kill_idle(0);
  kill_idle(1);
  Task& task = submit("echo");
  await([&] { return world_.launches() >= 6; });
  world_.set_starts(PlayedWorkers::Start::works);
  EXPECT_EQ(ending(task), Ending::returned);
}

TEST_F(SeatsTest, DoesWithTheWorkersThatItHasWhileOneCannotBeStarted) {
  SupervisorOptions options = with(2);
  options.restarts = {RestartLimit::kNone, 0, 1};
  open(options);
  await([&] { return count(LinkState::running) == 2; });
  world_.set_starts(PlayedWorkers::Start::fails);
  kill_idle(0);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(ending(submit("echo")), Ending::returned);
  world_.set_starts(PlayedWorkers::Start::works);
}

TEST_F(SeatsTest, EndsThoughASeatIsEmptyAndWaits) {
  SupervisorOptions options = with(1);
  options.restarts = {RestartLimit::kNone, 0, 1};
  open(options);
  world_.set_starts(PlayedWorkers::Start::fails);
  kill_idle(0);
  await([&] { return count(LinkState::absent) == 1; });
  supervisor_->shutdown(false);
  EXPECT_EQ(wait_ended(), WaitEnd::ready);
}

// --- all of it at once

struct Program {
  unsigned seed;
  std::uint32_t workers;
  std::uint64_t max_tasks;
  std::uint64_t max_memory;
  std::uint64_t idle_timeout_ns;
};

class RandomPrograms : public SeatsTest, public testing::WithParamInterface<Program> {
 protected:
  struct Submitted {
    Task* task;
    std::string payload;
    bool is_deadly;
  };

  std::vector<Submitted> run(std::mt19937& random, int number) {
    std::vector<Submitted> submitted;
    for (int i = 0; i < 250; ++i) {
      static const char* const words[] = {"echo ", "echo ", "echo ", "grow ", "die "};
      const std::string word = words[random() % 5];
      const std::string payload = word + std::to_string(number) + "/" + std::to_string(i);
      submitted.push_back({&submit(payload), payload, word == "die "});
      const Submitted& other = submitted[random() % submitted.size()];
      switch (random() % 12) {
        case 0:
          static_cast<void>(supervisor_->resize(1 + static_cast<std::uint32_t>(random() % 8)));
          break;
        case 1: static_cast<void>(supervisor_->cancel(*other.task, Running::spare)); break;
        case 2: static_cast<void>(result(*other.task)); break;
        case 3: kill_one(random); break;
        case 4: static_cast<void>(supervisor_->watch(*other.task, other.task)); break;
        default: break;
      }
    }
    return submitted;
  }

  void kill_one(std::mt19937& random) {
    const Snapshot snapshot = supervisor_->snapshot();
    const pid_t pid = snapshot.workers[random() % snapshot.workers.size()].pid;
    if (pid != 0) world_.kill_from_outside(PlayedWorkers::key_of(pid));
  }

  // Each ended as its payload says, and was begun once, or never if it was cancelled. A worker
  // may have been killed in the middle of any of them.
  void check(const Submitted& one) {
    const std::string answer = result(*one.task);
    const int runs = world_.runs(one.payload);
    SCOPED_TRACE(one.payload);
    switch (one.task->ending) {
      case Ending::returned:
        EXPECT_EQ(answer, one.payload);
        EXPECT_FALSE(one.is_deadly);
        EXPECT_EQ(runs, 1);
        break;
      case Ending::died: EXPECT_LE(runs, 1); break;
      case Ending::cancelled: EXPECT_EQ(runs, 0); break;
      default: ADD_FAILURE() << "ended in another way";
    }
    supervisor_->forget(*one.task);
  }
};

TEST_P(RandomPrograms, LoseNothingAndRunNothingTwice) {
  const Program& program = GetParam();
  SupervisorOptions options = with(program.workers);
  options.max_tasks_per_worker = program.max_tasks;
  options.max_memory_per_worker = program.max_memory;
  options.idle_timeout_ns = program.idle_timeout_ns;
  options.restarts = {RestartLimit::kNone, 0, 1};
  open(options);
  std::vector<Submitted> submitted[2];
  std::vector<std::thread> threads;
  for (unsigned number = 0; number < 2; ++number) {
    threads.emplace_back([&, number] {
      std::mt19937 random(program.seed * 2 + number);
      submitted[number] = run(random, static_cast<int>(number));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& some : submitted) {
    for (const Submitted& one : some) check(one);
  }
}

INSTANTIATE_TEST_SUITE_P(Pools, RandomPrograms,
                         testing::Values(Program{0, 2, 0, 0, 0}, Program{1, 3, 1, 0, 0},
                                         Program{2, 2, 5, 250, 0}, Program{3, 2, 5, 250, 0},
                                         Program{4, 4, 0, 0, kAnInstantNs},
                                         Program{5, 3, 3, 150, kAnInstantNs},
                                         Program{6, 1, 3, 150, kAnInstantNs}));

}  // namespace
}  // namespace owngil::runtime

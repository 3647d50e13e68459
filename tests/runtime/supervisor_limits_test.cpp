// SPDX-License-Identifier: BSD-3-Clause
// Limits, retries and the end of tasks that run: each race played in a fixed order.
#include "tests/runtime/supervisor_fixture.hpp"

#include <atomic>
#include <optional>
#include <random>
#include <thread>

namespace owngil::runtime {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

class LimitsTest : public SupervisorTest {
 protected:
  void open_with_judge(std::uint32_t workers) {
    open(workers);
    judge_ = supervisor_->add_blob(bytes_of("a judge"));
  }

  std::uint32_t judge_ = 0;
};

// --- time limits

TEST_F(LimitsTest, EndsATaskWhoseLimitHasPassedAndReplacesItsWorker) {
  open(1);
  const Policy limit{.timeout_ns = 20 * kMs};
  Task& task = submit("hold", &limit);
  EXPECT_EQ(result(task), "");
  ASSERT_EQ(task.ending, Ending::timed_out);
  EXPECT_EQ(task.failure->limit_ns, 20 * kMs);
  EXPECT_FALSE(task.failure->of_deadline);
  EXPECT_GE(task.failure->ran_ns, 20 * kMs);
  EXPECT_EQ(task.failure->pid, 1001);
  supervisor_->forget(task);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  EXPECT_EQ(supervisor_->snapshot().restarts, 1U);
}

TEST_F(LimitsTest, ShowsWhereALateTaskWas) {
  open(1);
  world_.asked = [this](std::uint64_t key) { world_.show_stack(key, "here"); };
  const Policy limit{.timeout_ns = 20 * kMs};
  for (int i = 0; i < 3; ++i) {
    Task& task = submit("hold", &limit);
    static_cast<void>(result(task));
    ASSERT_EQ(task.ending, Ending::timed_out);
    EXPECT_EQ(task.failure->stack, "here");
    supervisor_->forget(task);
  }
}

TEST_F(LimitsTest, ShowsNothingIfTheWorkerDoesNotAnswer) {
  open(1);
  int asked = 0;
  world_.asked = [&asked](std::uint64_t) { ++asked; };
  const Policy limit{.timeout_ns = 20 * kMs};
  Task& task = submit("hold", &limit);
  static_cast<void>(result(task));
  ASSERT_EQ(task.ending, Ending::timed_out);
  EXPECT_EQ(task.failure->stack, "");
  EXPECT_EQ(asked, 1);
  supervisor_->forget(task);
}

TEST_F(LimitsTest, ATaskThatEndsWhileItIsAskedIsLateAllTheSame) {
  open(1);
  world_.asked = [this](std::uint64_t) { world_.open(); };
  const Policy limit{.timeout_ns = 20 * kMs};
  EXPECT_EQ(ending(submit("hold", &limit)), Ending::timed_out);
  EXPECT_EQ(ending(submit("echo", &limit)), Ending::returned);
}

TEST_F(LimitsTest, AnItemThatEndsWhileItIsAskedIsLateAndTheOthersAreNot) {
  open(1);
  world_.asked = [this](std::uint64_t) { world_.open(); };
  const Policy limit{.timeout_ns = 30 * kMs};
  std::vector<std::string> items(10, "echo");
  items[4] = "hold";
  std::vector<std::string> expected = items;
  expected[4] = "timed out";
  EXPECT_EQ(run_map(items, 10, &limit), expected);
}

TEST_F(LimitsTest, LeavesATaskAloneThatEndsInTime) {
  open(2);
  const Policy limit{.timeout_ns = 60'000 * kMs};
  for (int i = 0; i < 500; ++i) EXPECT_EQ(ending(submit("echo", &limit)), Ending::returned);
  EXPECT_EQ(supervisor_->snapshot().restarts, 0U);
}

TEST_F(LimitsTest, RunsElsewhereWhatWaitedBehindATaskThatTimedOut) {
  open(1);
  const Policy limit{.timeout_ns = 20 * kMs};
  Task& late = submit("hold", &limit);
  std::vector<Task*> behind;
  for (int i = 0; i < 20; ++i) behind.push_back(&submit("echo " + std::to_string(i), &limit));
  EXPECT_EQ(ending(late), Ending::timed_out);
  for (int i = 0; i < 20; ++i) {
    Task& task = *behind[static_cast<std::size_t>(i)];
    EXPECT_EQ(result(task), "echo " + std::to_string(i));
    EXPECT_EQ(ending(task), Ending::returned);
  }
}

TEST_F(LimitsTest, CountsALimitFromTheBeginningOfTheTaskAndNotFromItsPlaceInTheRing) {
  open(1);
  const Policy limit{.timeout_ns = 100 * kMs};
  Task& first = submit("hold");
  world_.wait_for_held(1);
  Task& second = submit("echo", &limit);
  const std::uint64_t begin = ipc::now_ns();
  while (ipc::now_ns() - begin < 150 * kMs) std::this_thread::yield();
  world_.open();
  EXPECT_EQ(ending(first), Ending::returned);
  EXPECT_EQ(ending(second), Ending::returned);
}

TEST_F(LimitsTest, TimesOutTheItemAndNotTheChunk) {
  open(2);
  const Policy limit{.timeout_ns = 30 * kMs};
  for (const std::uint32_t chunk : {1U, 4U, 50U}) {
    SCOPED_TRACE(chunk);
    std::vector<std::string> items;
    for (int i = 0; i < 50; ++i) items.push_back("echo " + std::to_string(i));
    items[0] = items[20] = items[49] = "hold";
    std::vector<std::string> expected = items;
    std::replace(expected.begin(), expected.end(), std::string("hold"), std::string("timed out"));
    EXPECT_EQ(run_map(items, chunk, &limit), expected);
  }
}

TEST_F(LimitsTest, ADeadlineEndsWhatWaitsAndWhatRuns) {
  open(1);
  Task& held = submit("hold");
  const Policy limit{.deadline_ns = 20 * kMs};
  Task& queued = submit("echo", &limit);
  static_cast<void>(result(queued));
  ASSERT_EQ(queued.ending, Ending::timed_out);
  EXPECT_TRUE(queued.failure->of_deadline);
  EXPECT_FALSE(queued.failure->begun);
  supervisor_->forget(queued);
  world_.open();
  EXPECT_EQ(ending(held), Ending::returned);
}

TEST_F(LimitsTest, ADeadlineEndsATaskThatRuns) {
  open(1);
  const Policy limit{.deadline_ns = 20 * kMs};
  Task& task = submit("hold", &limit);
  static_cast<void>(result(task));
  ASSERT_EQ(task.ending, Ending::timed_out);
  EXPECT_TRUE(task.failure->of_deadline);
  EXPECT_TRUE(task.failure->begun);
  EXPECT_EQ(task.failure->limit_ns, 20 * kMs);
  supervisor_->forget(task);
}

TEST_F(LimitsTest, ADeadlineOfAMapKeepsWhatIsDoneAndEndsTheRest) {
  open(1);
  const Policy limit{.deadline_ns = 50 * kMs};
  EXPECT_EQ(run_map({"echo 0", "echo 1", "hold", "echo 3", "echo 4"}, 4, &limit),
            (std::vector<std::string>{"echo 0", "echo 1", "timed out", "timed out", "timed out"}));
}

// --- retries

TEST_F(LimitsTest, RunsATaskAgainWhoseWorkerDiedAndCountsTheRuns) {
  open(1);
  const Policy again{.retries = 3, .retry_died = true};
  Task& task = submit("die", &again);
  static_cast<void>(result(task));
  EXPECT_EQ(task.ending, Ending::died);
  ASSERT_EQ(task.terms->attempts.size(), 3U);
  for (const Attempt& attempt : task.terms->attempts) {
    EXPECT_EQ(attempt.ending, Ending::died);
    EXPECT_EQ(attempt.failure->wait_status, 9);
  }
  supervisor_->forget(task);
  EXPECT_EQ(world_.launches(), 5U);
}

TEST_F(LimitsTest, RunsATaskAgainThatRaisedWhatIsWorthIt) {
  open_with_judge(2);
  const Policy again{.retries = 2, .retry_on = judge_};
  Task& task = submit("raise this", &again);
  EXPECT_EQ(result(task), "raise this");
  EXPECT_EQ(task.ending, Ending::raised);
  ASSERT_EQ(task.terms->attempts.size(), 2U);
  EXPECT_EQ(task.terms->attempts[1].payload.size(), 10U);
  supervisor_->forget(task);
  EXPECT_EQ(supervisor_->snapshot().restarts, 0U);
}

TEST_F(LimitsTest, RestsBeforeEachRetryTwiceAsLong) {
  open_with_judge(1);
  const Policy again{.backoff_ns = 10 * kMs, .retries = 3, .retry_on = judge_};
  const std::uint64_t begin = ipc::now_ns();
  EXPECT_EQ(ending(submit("raise", &again)), Ending::raised);
  EXPECT_GE(ipc::now_ns() - begin, 70 * kMs);
}

TEST_F(LimitsTest, RunsAnItemAgainAndNotItsChunk) {
  open_with_judge(2);
  const Policy again{.retries = 1, .retry_on = judge_, .retry_died = true};
  for (const std::uint32_t chunk : {1U, 3U, 10U}) {
    SCOPED_TRACE(chunk);
    EXPECT_EQ(run_map({"raise 0", "echo 1", "die", "raise 3", "raise 4", "echo 5", "raise 6"},
                      chunk, &again),
              (std::vector<std::string>{"raise 0", "echo 1", "died", "raise 3", "raise 4", "echo 5",
                                        "raise 6"}));
  }
}

TEST_F(LimitsTest, CancelsATaskThatRests) {
  open_with_judge(1);
  const Policy again{.backoff_ns = 3'600'000 * kMs, .retries = 1, .retry_on = judge_};
  Task& task = submit("raise", &again);
  while (supervisor_->snapshot().running != 0) std::this_thread::yield();
  EXPECT_TRUE(supervisor_->cancel(task, Running::spare));
  EXPECT_EQ(ending(task), Ending::cancelled);
}

TEST_F(LimitsTest, EndsTasksThatRestWhenThePoolIsToldToCancelThem) {
  open_with_judge(1);
  const Policy again{.backoff_ns = 3'600'000 * kMs, .retries = 1, .retry_on = judge_};
  Task& task = submit("raise", &again);
  while (supervisor_->snapshot().running != 0) std::this_thread::yield();
  supervisor_->shutdown(true);
  EXPECT_EQ(ending(task), Ending::cancelled);
}

TEST_F(LimitsTest, RunsATaskAgainThatTimedOutIfItMay) {
  open(1);
  const Policy again{.timeout_ns = 10 * kMs, .retries = 2, .retry_timed_out = true};
  Task& task = submit("hold", &again);
  static_cast<void>(result(task));
  EXPECT_EQ(task.ending, Ending::timed_out);
  EXPECT_EQ(task.terms->attempts.size(), 2U);
  supervisor_->forget(task);
}

// --- cancellation of what runs

TEST_F(LimitsTest, SparesATaskThatRunsUnlessItIsToBeStopped) {
  open(1);
  Task& task = submit("hold");
  world_.wait_for_held(1);
  EXPECT_FALSE(supervisor_->cancel(task, Running::spare));
  world_.open();
  EXPECT_EQ(ending(task), Ending::returned);
}

TEST_F(LimitsTest, AnObedientTaskEndsAsCancelledAndKeepsItsWorker) {
  open(1);
  Task& task = submit("obey");
  world_.wait_for_held(1);
  EXPECT_TRUE(supervisor_->cancel(task, Running::stop));
  // It answers, even with a value; that is not its outcome any more.
  EXPECT_EQ(ending(task), Ending::cancelled);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  EXPECT_EQ(world_.launches(), 1U);
}

TEST_F(LimitsTest, ATaskThatDoesNotObeyIsInterruptedAgainAndThenKilled) {
  open(1);
  Task& task = submit("hold");
  world_.wait_for_held(1);
  EXPECT_TRUE(supervisor_->cancel(task, Running::stop, 60'000 * kMs));
  world_.wait_for_signals(2);
  EXPECT_FALSE(task.is_complete());
  EXPECT_TRUE(supervisor_->cancel(task, Running::stop, 10 * kMs));
  EXPECT_EQ(ending(task), Ending::cancelled);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  EXPECT_EQ(world_.launches(), 2U);
}

TEST_F(LimitsTest, KillsAtOnceWithoutGrace) {
  open(1);
  Task& task = submit("hold");
  world_.wait_for_held(1);
  EXPECT_TRUE(supervisor_->cancel(task, Running::stop, 0));
  EXPECT_TRUE(task.is_complete());
  EXPECT_EQ(ending(task), Ending::cancelled);
}

TEST_F(LimitsTest, ASecondOrderCanShortenTheGraceButNotUndoTheFirst) {
  open(1);
  Task& task = submit("hold");
  world_.wait_for_held(1);
  EXPECT_TRUE(supervisor_->cancel(task, Running::stop, 3'600'000 * kMs));
  EXPECT_TRUE(supervisor_->cancel(task, Running::stop, 0));
  EXPECT_EQ(ending(task), Ending::cancelled);
}

TEST_F(LimitsTest, AResultThatLandsAfterTheOrderDoesNotCount) {
  open(1);
  Task& task = submit("hold");
  world_.wait_for_held(1);
  EXPECT_TRUE(supervisor_->cancel(task, Running::stop, 3'600'000 * kMs));
  world_.open();
  EXPECT_EQ(ending(task), Ending::cancelled);
  EXPECT_EQ(world_.launches(), 1U);
}

TEST_F(LimitsTest, CancellingWhatHasEndedChangesNothing) {
  open(1);
  Task& task = submit("echo");
  static_cast<void>(result(task));
  EXPECT_FALSE(supervisor_->cancel(task, Running::stop, 0));
  EXPECT_EQ(task.ending, Ending::returned);
  EXPECT_EQ(ending(task), Ending::returned);
  EXPECT_EQ(world_.launches(), 1U);
}

TEST_F(LimitsTest, ADeathBeforeTheGraceIsOverEndsTheTaskAsCancelled) {
  open(1);
  Task& task = submit("hold");
  world_.wait_for_held(1);
  EXPECT_TRUE(supervisor_->cancel(task, Running::stop, 3'600'000 * kMs));
  world_.kill_from_outside(1);
  EXPECT_EQ(ending(task), Ending::cancelled);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
}

TEST_F(LimitsTest, WhatWaitedBehindATaskThatWasKilledRunsOnce) {
  open(1);
  Task& task = submit("hold");
  world_.wait_for_held(1);
  std::vector<Task*> behind;
  for (int i = 0; i < 100; ++i) behind.push_back(&submit("echo " + std::to_string(i)));
  EXPECT_TRUE(supervisor_->cancel(task, Running::stop, 0));
  for (int i = 0; i < 100; ++i) {
    Task& other = *behind[static_cast<std::size_t>(i)];
    EXPECT_EQ(result(other), "echo " + std::to_string(i));
    supervisor_->forget(other);
  }
  EXPECT_EQ(ending(task), Ending::cancelled);
}

TEST_F(LimitsTest, AClosedMapStopsItsItemsThatRunIfItMay) {
  open(2);
  const Policy policy{.grace_ns = 3'600'000 * kMs, .cancel_running = true};
  MapJob& job = *supervisor_->open_map(function_, 0, 3, &policy);
  const std::vector<std::string> items(12, "obey");
  ASSERT_EQ(supervisor_->add_items(job, encoded(items), items.size()), Admission::admitted);
  world_.wait_for_held(2);
  supervisor_->close_map(job);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  EXPECT_EQ(world_.launches(), 2U);
}

// --- all of it at once

TEST_F(LimitsTest, LosesNothingWhenTasksDieTimeOutAndAreCancelledAtRandom) {
  open_with_judge(3);
  const Policy policies[] = {
      {.timeout_ns = 3 * kMs},
      {.deadline_ns = 3 * kMs},
      {.timeout_ns = 3 * kMs, .retries = 1, .retry_on = judge_, .retry_died = true},
      {.retries = 2, .retry_died = true, .cancel_running = true},
  };
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (unsigned caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      std::mt19937 random(caller);
      for (int i = 0; i < 150; ++i) {
        const auto dice = random() % 20;
        const std::string payload = dice == 0   ? "die"
                                    : dice == 1 ? "hold"
                                    : dice == 2 ? "obey"
                                    : dice == 3 ? "raise"
                                                : "echo " + std::to_string(random() % 1000);
        const bool stuck = payload == "hold" || payload == "obey";
        const auto which = random() % 5;
        const Policy* policy = which < 4 ? &policies[stuck ? which % 3 : which] : nullptr;
        Task& task = submit(payload, policy);
        const bool cancel = random() % 6 == 0 || (stuck && policy == nullptr);
        if (cancel) static_cast<void>(supervisor_->cancel(task, Running::stop, kMs));
        const std::string answer = result(task);
        const bool ended = task.ending == Ending::returned || task.ending == Ending::raised;
        if (ended && answer != payload) ++wrong;
        if (!stuck && !cancel && payload != "die" && policy == nullptr && !ended) ++wrong;
        if (task.ending == Ending::none || task.ending == Ending::broken) ++wrong;
        supervisor_->forget(task);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(LimitsTest, LosesNothingOfMapsThatDieTimeOutAndAreClosedAtRandom) {
  open_with_judge(2);
  const Policy policies[] = {
      {.timeout_ns = 3 * kMs},
      {.deadline_ns = 6 * kMs},
      {.timeout_ns = 3 * kMs, .retries = 1, .retry_on = judge_, .retry_died = true},
      {.grace_ns = kMs, .retries = 2, .retry_died = true, .cancel_running = true},
  };
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (unsigned caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&, caller] {
      std::mt19937 random(caller);
      for (int i = 0; i < 60; ++i) {
        const auto which = random() % 4;
        std::vector<std::string> items;
        for (int item = 0; item < 40; ++item) {
          const auto dice = random() % 60;
          items.push_back(dice == 0                 ? "die"
                          : dice == 1               ? "raise"
                          : dice == 2 && which == 0 ? "hold"
                                                    : "echo " + std::to_string(item));
        }
        const auto chunk = static_cast<std::uint32_t>(random() % 12);
        if (which == 3) {
          MapJob& job = *supervisor_->open_map(function_, 0, chunk, &policies[which]);
          if (supervisor_->add_items(job, encoded(items), items.size()) != Admission::admitted) {
            ++wrong;
          }
          for (auto spins = random() % 2000; spins > 0; --spins) std::this_thread::yield();
          supervisor_->close_map(job);
          continue;
        }
        const std::vector<std::string> results = run_map(items, chunk, &policies[which]);
        for (std::size_t item = 0; item < items.size(); ++item) {
          const bool has_died = results[item] == "died" && items[item] == "die";
          const bool is_late = results[item] == "timed out";  // on a slow machine any may be
          if (results[item] != items[item] && !has_died && !is_late) ++wrong;
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
}

}  // namespace
}  // namespace owngil::runtime

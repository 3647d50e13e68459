// SPDX-License-Identifier: BSD-3-Clause
// A supervisor with workers that are threads: what it promises, and what it survives.
#include "tests/runtime/supervisor_fixture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace owngil::runtime {
namespace {

TEST_F(SupervisorTest, BringsBackWhatAWorkerAnswered) {
  open(2);
  Task& task = submit("echo this");
  EXPECT_EQ(result(task), "echo this");
  EXPECT_EQ(ending(task), Ending::returned);
}

TEST_F(SupervisorTest, BringsBackPayloadsThatFitNoSlot) {
  open(1);
  const std::string large(300'000, 'x');
  Task& task = submit(large);
  EXPECT_EQ(result(task), large);
  supervisor_->forget(task);
}

TEST_F(SupervisorTest, KeepsManyTasksInOrderOfTheirAnswers) {
  open(2);
  std::vector<Task*> tasks;
  for (int i = 0; i < 5'000; ++i) tasks.push_back(&submit("echo " + std::to_string(i)));
  for (int i = 0; i < 5'000; ++i) {
    ASSERT_EQ(result(*tasks[static_cast<std::size_t>(i)]), "echo " + std::to_string(i));
    supervisor_->forget(*tasks[static_cast<std::size_t>(i)]);
  }
}

TEST_F(SupervisorTest, TellsAFailureFromAValue) {
  open(1);
  EXPECT_EQ(ending(submit("raise")), Ending::raised);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
}

TEST_F(SupervisorTest, LosesOnlyTheTaskThatADeadWorkerHadBegun) {
  open(2);
  std::vector<Task*> tasks;
  for (int i = 0; i < 40; ++i) tasks.push_back(&submit(i == 13 ? "die" : "echo"));
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(ending(*tasks[static_cast<std::size_t>(i)]),
              i == 13 ? Ending::died : Ending::returned);
  }
  EXPECT_EQ(supervisor_->snapshot().restarts, 1U);
}

TEST_F(SupervisorTest, TellsWhichWorkerPrinted) {
  open(1);
  Task& loud = submit("print");
  static_cast<void>(result(loud));
  EXPECT_TRUE(loud.printed);
  Task& silent = submit("echo");
  static_cast<void>(result(silent));
  EXPECT_FALSE(silent.printed);
  EXPECT_EQ(silent.answered_by, loud.answered_by);
  Task& dead = submit("die");
  static_cast<void>(result(dead));
  EXPECT_EQ(dead.answered_by, loud.answered_by);
  EXPECT_TRUE(dead.printed);  // it may have, and nobody can tell
  for (Task* task : {&loud, &silent, &dead}) supervisor_->forget(*task);
}

TEST_F(SupervisorTest, TellsHowTheWorkerDied) {
  open(1);
  Task& task = submit("die");
  static_cast<void>(result(task));
  ASSERT_EQ(task.ending, Ending::died);
  ASSERT_EQ(task.place, Task::Place::failure);
  EXPECT_EQ(task.failure->wait_status, 9);
  EXPECT_TRUE(task.failure->status_known);
  EXPECT_EQ(task.failure->rank, 0U);
  EXPECT_EQ(task.failure->pid, 1001);
  EXPECT_EQ(task.failure->task, task.id);
  supervisor_->forget(task);
}

TEST_F(SupervisorTest, CancelsATaskThatWaitsInTheBacklogOrInARing) {
  open(1);
  Task& held = submit("hold");
  std::vector<Task*> waiting;
  for (int i = 0; i < 10; ++i) waiting.push_back(&submit("echo"));
  for (Task* task : waiting) {
    EXPECT_TRUE(supervisor_->cancel(*task, Running::spare));
    EXPECT_EQ(ending(*task), Ending::cancelled);
  }
  world_.open();
  EXPECT_EQ(ending(held), Ending::returned);
}

TEST_F(SupervisorTest, RefusesToCancelWhatHasEnded) {
  open(1);
  Task& task = submit("echo");
  static_cast<void>(result(task));
  EXPECT_FALSE(supervisor_->cancel(task, Running::spare));
  supervisor_->forget(task);
}

TEST_F(SupervisorTest, TakesATaskBackFromBehindALongOneWhenAnotherWorkerIsIdle) {
  open(2);
  Task& held = submit("hold");
  std::vector<Task*> tasks;
  for (int i = 0; i < 8; ++i) tasks.push_back(&submit("echo"));
  for (Task* task : tasks) EXPECT_EQ(ending(*task), Ending::returned);
  world_.open();
  EXPECT_EQ(ending(held), Ending::returned);
}

TEST_F(SupervisorTest, SendsElsewhereWhenTheRingBehindALongTaskIsFullOfTasksTakenBack) {
  open(2);
  Task& held = submit("hold");
  for (int i = 0; i < 2'000; ++i) {
    Task& task = submit("echo");
    ASSERT_EQ(ending(task), Ending::returned);
  }
  world_.open();
  EXPECT_EQ(ending(held), Ending::returned);
}

TEST_F(SupervisorTest, CompletesWatchedTasksWithNobodyWaiting) {
  open(2);
  std::vector<Task*> tasks;
  for (int i = 0; i < 600; ++i) tasks.push_back(&submit("echo"));
  std::size_t expected = 0;
  for (Task* task : tasks) expected += supervisor_->watch(*task, task) ? 1 : 0;
  std::vector<void*> completed;
  while (completed.size() < expected) {
    ASSERT_TRUE(supervisor_->next_completions(completed));
  }
  EXPECT_EQ(completed.size(), expected);
  for (Task* task : tasks) {
    EXPECT_TRUE(task->is_complete() || !task->watched);
    EXPECT_EQ(ending(*task), Ending::returned);
  }
}

TEST_F(SupervisorTest, RunsABacklogWithNobodyLooking) {
  open(2);
  std::vector<Task*> tasks;
  for (int i = 0; i < 3'000; ++i) tasks.push_back(&submit("echo"));
  // Watching the last one alone is enough: nobody collects by calling.
  std::vector<void*> completed;
  if (supervisor_->watch(*tasks.back(), tasks.back())) {
    ASSERT_TRUE(supervisor_->next_completions(completed));
  }
  for (Task* task : tasks) EXPECT_EQ(ending(*task), Ending::returned);
}

TEST_F(SupervisorTest, ReplacesAWorkerAfterAsManyTasksAsItMayRun) {
  open(1, 3);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(ending(submit("echo")), Ending::returned);
  EXPECT_GE(supervisor_->snapshot().recycled, 3U);
  EXPECT_EQ(supervisor_->snapshot().restarts, 0U);
}

TEST_F(SupervisorTest, MapsItemsInTheirOrder) {
  open(2);
  std::vector<std::string> items;
  for (int i = 0; i < 5'000; ++i) items.push_back("echo " + std::to_string(i));
  EXPECT_EQ(run_map(items, 0), items);
}

TEST_F(SupervisorTest, LosesOnlyTheItemAtWhichAWorkerDied) {
  open(2);
  for (const std::uint32_t chunk : {1U, 7U, 100U}) {
    SCOPED_TRACE(chunk);
    std::vector<std::string> items;
    for (int i = 0; i < 100; ++i) items.push_back("echo " + std::to_string(i));
    for (const std::size_t dead : {std::size_t{0}, std::size_t{50}, std::size_t{99}}) {
      items[dead] = "die";
    }
    std::vector<std::string> expected = items;
    std::replace(expected.begin(), expected.end(), std::string("die"), std::string("died"));
    EXPECT_EQ(run_map(items, chunk), expected);
  }
}

TEST_F(SupervisorTest, ForgetsAMapThatIsClosedWhileItRuns) {
  open(2);
  MapJob& job = *supervisor_->open_map(function_, 0, 1);
  const std::vector<std::string> items(50, "hold");
  ASSERT_EQ(supervisor_->add_items(job, encoded(items), items.size()), Admission::admitted);
  supervisor_->close_map(job);
  world_.open();
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
}

TEST_F(SupervisorTest, FailsWhatIsPendingWhenNoWorkerCanBeReplaced) {
  open(1);
  Task& first = submit("echo");
  EXPECT_EQ(ending(first), Ending::returned);
  world_.refuse_launches();
  Task& guilty = submit("die");
  Task& behind = submit("echo");
  EXPECT_EQ(ending(guilty), Ending::died);
  EXPECT_EQ(ending(behind), Ending::broken);
  EXPECT_TRUE(supervisor_->is_broken());
  Task* refused = nullptr;
  EXPECT_EQ(supervisor_->submit({function_, 0, ipc::Format::none, {}}, refused), Admission::broken);
}

TEST_F(SupervisorTest, AdmitsNothingAfterShutdownAndFinishesWhatItHas) {
  open(2);
  std::vector<Task*> tasks;
  for (int i = 0; i < 500; ++i) tasks.push_back(&submit("echo"));
  supervisor_->shutdown(false);
  Task* refused = nullptr;
  EXPECT_EQ(supervisor_->submit({function_, 0, ipc::Format::none, {}}, refused), Admission::closed);
  for (Task* task : tasks) EXPECT_EQ(ending(*task), Ending::returned);
}

TEST_F(SupervisorTest, CancelsWhatHasNotBegunWhenAskedTo) {
  open(1);
  Task& held = submit("hold");
  std::vector<Task*> tasks;
  for (int i = 0; i < 500; ++i) tasks.push_back(&submit("echo"));
  while (!supervisor_->is_running(held)) std::this_thread::yield();
  supervisor_->shutdown(true);
  world_.open();
  for (Task* task : tasks) EXPECT_EQ(ending(*task), Ending::cancelled);
  EXPECT_EQ(ending(held), Ending::returned);
}

TEST_F(SupervisorTest, EndsItsWorkersReplacesNoneAndCancelsWhatHasNotBegun) {
  open(2);
  std::vector<Task*> held{&submit("hold"), &submit("hold")};
  std::vector<Task*> waiting;
  for (int i = 0; i < 500; ++i) waiting.push_back(&submit("echo"));
  for (Task* task : held) {
    while (!supervisor_->is_running(*task)) std::this_thread::yield();
  }
  supervisor_->end_workers(SIGKILL);
  for (Task* task : waiting) EXPECT_EQ(ending(*task), Ending::cancelled);
  for (Task* task : held) EXPECT_EQ(ending(*task), Ending::died);
  EXPECT_EQ(wait_ended(), WaitEnd::ready);
  EXPECT_EQ(world_.launches(), 2U);
  Task* task = nullptr;
  EXPECT_EQ(supervisor_->submit({function_, 0, ipc::Format::tagged, {}}, task), Admission::closed);
  supervisor_->end_workers(SIGKILL);  // again: nothing happens
}

TEST_F(SupervisorTest, GivesWhatHandlesASignalTimeToAnswer) {
  open(1);
  Task& held = submit("hold");
  while (!supervisor_->is_running(held) || supervisor_->snapshot().workers[0].pid == 0) {
    std::this_thread::yield();
  }
  Task& waiting = submit("echo");
  supervisor_->end_workers(SIGTERM);  // these workers take no notice
  EXPECT_EQ(ending(waiting), Ending::cancelled);
  world_.open();
  EXPECT_EQ(ending(held), Ending::returned);
  EXPECT_EQ(wait_ended(), WaitEnd::ready);
  EXPECT_EQ(world_.launches(), 1U);
}

TEST_F(SupervisorTest, ServesManyThreadsThatSubmitWaitAndCancelAtOnce) {
  open(2);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      std::mt19937 random(static_cast<unsigned>(caller));
      for (int i = 0; i < 400; ++i) {
        const std::string payload =
            random() % 97 == 0 ? "die" : "echo " + std::to_string(caller * 1000 + i);
        Task& task = submit(payload);
        if (random() % 8 == 0) static_cast<void>(supervisor_->cancel(task, Running::spare));
        const std::string answer = result(task);
        if (task.ending == Ending::returned && answer != payload) ++wrong;
        if (task.ending == Ending::died && payload != "die") ++wrong;
        supervisor_->forget(task);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

// --- a worker that breaks the protocol is dead, and its task lost; nothing else is touched

class LyingWorkers : public SupervisorTest,
                     public testing::WithParamInterface<void (*)(ipc::ResultSlot&)> {};

TEST_P(LyingWorkers, AreKilledAndFailOnlyTheTaskThatTheyHadBegun) {
  world_.lie = GetParam();
  open(1);
  Task& task = submit("echo");
  EXPECT_EQ(ending(task), Ending::died);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
}

TEST_P(LyingWorkers, AreKilledAndFailOnlyTheItemThatTheyWereAt) {
  world_.lie = GetParam();
  open(1);
  EXPECT_EQ(run_map({"echo 0", "echo 1", "echo 2", "echo 3", "echo 4"}, 5),
            (std::vector<std::string>{"died", "echo 1", "echo 2", "echo 3", "echo 4"}));
}

INSTANTIATE_TEST_SUITE_P(
    Nonsense, LyingWorkers,
    testing::Values([](ipc::ResultSlot& slot) { slot.task += 1; },
                    [](ipc::ResultSlot& slot) { slot.position += 1; },
                    [](ipc::ResultSlot& slot) { slot.size = ipc::kInlineBytes + 1; },
                    [](ipc::ResultSlot& slot) { slot.status = static_cast<ipc::Status>(77); },
                    [](ipc::ResultSlot& slot) { slot.status = ipc::Status::chunk; },
                    [](ipc::ResultSlot& slot) {
                      slot.where = ipc::Where::block;
                      slot.block = {kTestArena - 64, 128};
                    },
                    // in the arena, but never written
                    [](ipc::ResultSlot& slot) {
                      slot.where = ipc::Where::block;
                      slot.block = {0, kTestArena};
                    },
                    [](ipc::ResultSlot& slot) {
                      slot.where = ipc::Where::block;
                      slot.block = {~std::uint64_t{0}, ~std::uint64_t{0}};
                    },
                    [](ipc::ResultSlot& slot) {
                      slot.where = static_cast<ipc::Where>(9);
                      slot.block = {0, 64};
                    }));

// --- the same for the items of a map

std::byte marked(ipc::ItemMark mark) { return static_cast<std::byte>(mark); }

void point_to(std::span<std::byte> block, ipc::BlockRef next) {
  const ipc::ChainHeader header{next};
  std::memcpy(block.data(), &header, sizeof header);
}

class ScribblingWorkers
    : public SupervisorTest,
      public testing::WithParamInterface<void (*)(std::span<std::byte>, std::uint64_t)> {};

TEST_P(ScribblingWorkers, AreKilledAndFailOnlyTheItemThatTheyHadBegun) {
  world_.scribble = GetParam();
  open(1);
  std::vector<std::string> expected(200, "echo");
  const std::vector<std::string> items = expected;
  expected[0] = "died";
  EXPECT_EQ(run_map(items, 200), expected);
}

INSTANTIATE_TEST_SUITE_P(Nonsense, ScribblingWorkers,
                         testing::Values(
                             // fewer items than there should be
                             [](std::span<std::byte> block, std::uint64_t) {
                               std::ranges::fill(block, std::byte{2});
                             },
                             // an item that reaches beyond the block, in either form
                             [](std::span<std::byte> block, std::uint64_t) {
                               std::ranges::fill(block, marked(ipc::ItemMark::longest_short));
                             },
                             [](std::span<std::byte> block, std::uint64_t) {
                               std::ranges::fill(block, marked(ipc::ItemMark::header));
                             },
                             // a chain that goes on nowhere, outside the arena, in itself
                             [](std::span<std::byte> block, std::uint64_t) {
                               std::ranges::fill(block, marked(ipc::ItemMark::next_block));
                               point_to(block, {0, 0});
                             },
                             [](std::span<std::byte> block, std::uint64_t) {
                               std::ranges::fill(block, marked(ipc::ItemMark::next_block));
                               point_to(block, {~std::uint64_t{0}, 64});
                             },
                             [](std::span<std::byte> block, std::uint64_t offset) {
                               std::ranges::fill(block, marked(ipc::ItemMark::next_block));
                               point_to(block, {offset, kScribbledBytes});
                             }));

class RandomScribbles : public SupervisorTest, public testing::WithParamInterface<unsigned> {};

TEST_P(RandomScribbles, AreTakenForItemsOrKillTheirWorker) {
  std::mt19937 random(GetParam());
  world_.scribble = [&random](std::span<std::byte> block, std::uint64_t offset) {
    for (std::byte& byte : block) byte = static_cast<std::byte>(random() % 8 == 0 ? random() : 0);
    block[random() % block.size()] = marked(ipc::ItemMark::next_block);
    if (random() % 2 == 0) point_to(block, {offset + random() % 256, random() % 256});
  };
  open(1);
  const std::vector<std::string> items(40, "echo");
  EXPECT_EQ(run_map(items, 40).size(), items.size());
  EXPECT_EQ(run_map(items, 3).size(), items.size());
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomScribbles, testing::Range(0U, 40U));

}  // namespace
}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// A pool with workers of two kinds: what those of the first choice cannot run, the others do.
#include "tests/runtime/supervisor_fixture.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace owngil::runtime {
namespace {

class FallbackTest : public SupervisorTest {
 protected:
  void open_with_fallback(std::uint32_t lanes) {
    SupervisorOptions options;
    options.workers = lanes;
    options.has_fallback = true;
    open(options);
  }

  // A task of another function than that of the fixture.
  Task& submit_other(std::string_view payload) {
    if (other_ == 0) other_ = supervisor_->add_blob(bytes_of("another function"));
    Task* task = nullptr;
    EXPECT_EQ(supervisor_->submit({other_, 0, ipc::Format::tagged, bytes_of(payload)}, task),
              Admission::admitted);
    return *task;
  }

  std::string finished(Task& task) {
    std::string text = result(task);
    EXPECT_EQ(task.ending, Ending::returned);
    supervisor_->forget(task);
    return text;
  }

  std::string reason() {
    const std::optional<Unfitness> why = supervisor_->unfitness(function_);
    if (!why) return "";
    return {reinterpret_cast<const char*>(why->bytes.data()), why->bytes.size()};
  }

  std::uint32_t other_ = 0;
};

TEST_F(FallbackTest, StartsNoWorkerOfTheFallbackWhileNothingIsRefused) {
  open_with_fallback(2);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(finished(submit("echo")), "echo");
  EXPECT_EQ(world_.launches(), 2U);
  EXPECT_FALSE(supervisor_->unfitness(function_));
  EXPECT_EQ(supervisor_->snapshot().workers.size(), 2U);
}

TEST_F(FallbackTest, RunsWhatWasRefusedInAWorkerOfTheFallback) {
  open_with_fallback(1);
  EXPECT_EQ(finished(submit("refuse")), "refuse");
  EXPECT_EQ(world_.launches(), 2U);
  EXPECT_EQ(reason(), "np");
}

TEST_F(FallbackTest, SendsAFunctionThatWasRefusedThereAtOnceFromThenOn) {
  open_with_fallback(1);
  static_cast<void>(finished(submit("refuse")));
  const std::uint64_t before = supervisor_->snapshot().workers.at(0).tasks_done;
  for (int i = 0; i < 10; ++i) static_cast<void>(finished(submit("echo")));
  const Snapshot after = supervisor_->snapshot();
  EXPECT_EQ(after.workers.at(0).tasks_done, before);
  ASSERT_EQ(after.workers.size(), 2U);
  EXPECT_EQ(after.workers.at(1).choice, Choice::fallback);
  EXPECT_EQ(after.workers.at(1).tasks_done, 11U);
}

TEST_F(FallbackTest, LeavesOtherFunctionsWhereTheyAre) {
  open_with_fallback(1);
  static_cast<void>(finished(submit("refuse")));
  static_cast<void>(finished(submit_other("echo")));
  EXPECT_EQ(supervisor_->snapshot().workers.at(0).tasks_done, 1U);
}

TEST_F(FallbackTest, NeverRunsMoreTasksAtOnceThanItHasLanes) {
  open_with_fallback(2);
  static_cast<void>(finished(submit("refuse")));
  std::vector<Task*> tasks;
  for (int i = 0; i < 300; ++i) {
    tasks.push_back(i % 3 == 0 ? &submit("print") : &submit_other("print"));
  }
  for (Task* task : tasks) EXPECT_EQ(finished(*task), "print");
  EXPECT_LE(world_.most_at_once(), 2);
}

TEST_F(FallbackTest, UsesEveryLaneThoughTheKindsAreMixed) {
  open_with_fallback(2);
  static_cast<void>(finished(submit("refuse")));
  Task& here = submit("hold");
  Task& there = submit_other("hold");
  world_.wait_for_held(2);
  EXPECT_EQ(world_.most_at_once(), 2);
  world_.open();
  static_cast<void>(finished(here));
  static_cast<void>(finished(there));
}

TEST_F(FallbackTest, GivesALaneToTheKindThatItsNextTaskNeeds) {
  open_with_fallback(1);
  static_cast<void>(finished(submit("refuse")));
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(finished(submit("echo")), "echo");
    EXPECT_EQ(finished(submit_other("echo")), "echo");
  }
}

TEST_F(FallbackTest, RunsTheRestOfAChunkThatWasRefusedHalfwayInTheFallback) {
  open_with_fallback(1);
  const std::vector<std::string> items = {"a", "b", "refuse", "c", "d"};
  EXPECT_EQ(run_map(items, 5), items);
  EXPECT_EQ(world_.runs("a"), 1);
  EXPECT_EQ(world_.runs("refuse"), 1);
  EXPECT_EQ(supervisor_->snapshot().workers.at(1).tasks_done, 3U);
}

TEST_F(FallbackTest, RunsAWholeChunkInTheFallbackIfItsFirstItemIsRefused) {
  open_with_fallback(1);
  const std::vector<std::string> items = {"refuse", "a", "b"};
  EXPECT_EQ(run_map(items, 3), items);
  EXPECT_EQ(world_.runs("a"), 1);
}

TEST_F(FallbackTest, FailsATaskThatTurnsOutToBeUnfitWhenItHasBegun) {
  open_with_fallback(1);
  Task& task = submit("unfit");
  EXPECT_EQ(ending(task), Ending::raised);
  EXPECT_EQ(world_.runs("unfit"), 1);
  EXPECT_EQ(finished(submit("unfit")), "unfit");  // later calls do not run there
  EXPECT_EQ(reason(), "unfit");
}

TEST_F(FallbackTest, RunsAnUnfitTaskAgainIfRetriesAllowIt) {
  open_with_fallback(1);
  const Policy policy{.retries = 1};
  Task& task = submit("unfit", &policy);
  EXPECT_EQ(finished(task), "unfit");
  EXPECT_EQ(world_.runs("unfit"), 2);
}

TEST_F(FallbackTest, FailsTheOneItemThatTurnsOutToBeUnfitAndRunsThoseBehindIt) {
  open_with_fallback(1);
  EXPECT_EQ(run_map({"a", "unfit", "b"}, 3), (std::vector<std::string>{"a", "unfit", "b"}));
  EXPECT_EQ(world_.runs("unfit"), 1);
  EXPECT_EQ(reason(), "unfit");
  EXPECT_EQ(supervisor_->snapshot().workers.at(1).tasks_done, 1U);
}

TEST_F(FallbackTest, RunsAnUnfitItemAgainIfRetriesAllowIt) {
  open_with_fallback(1);
  const Policy policy{.retries = 1};
  EXPECT_EQ(run_map({"a", "unfit", "b"}, 3, &policy),
            (std::vector<std::string>{"a", "unfit", "b"}));
  EXPECT_EQ(world_.runs("unfit"), 2);
  EXPECT_EQ(world_.runs("a"), 1);
}

TEST_F(FallbackTest, EndsAWorkerThatRefusesThoughItMayNot) {
  world_.lie = [](ipc::ResultSlot& slot) { slot.status = ipc::Status::refused; };
  open(1);
  EXPECT_EQ(ending(submit("echo")), Ending::died);
}

TEST_F(FallbackTest, CancelsWhatWasRefusedAndWaits) {
  open_with_fallback(1);
  world_.hold_starts(false);
  static_cast<void>(finished(submit("refuse")));
  Task& running = submit("hold");
  world_.wait_for_held(1);
  std::vector<Task*> waiting;
  for (int i = 0; i < 5; ++i) waiting.push_back(&submit("refuse"));
  for (Task* task : waiting) EXPECT_TRUE(supervisor_->cancel(*task, Running::spare));
  for (Task* task : waiting) supervisor_->forget(*task);
  world_.open();
  static_cast<void>(finished(running));
}

TEST_F(FallbackTest, KeepsBothKindsWhenItIsResized) {
  open_with_fallback(1);
  static_cast<void>(finished(submit("refuse")));
  EXPECT_EQ(supervisor_->resize(3), Admission::admitted);
  std::vector<Task*> tasks;
  for (int i = 0; i < 60; ++i) {
    tasks.push_back(i % 2 == 0 ? &submit("echo") : &submit_other("echo"));
  }
  for (Task* task : tasks) EXPECT_EQ(finished(*task), "echo");
  EXPECT_EQ(supervisor_->resize(1), Admission::admitted);
  EXPECT_EQ(finished(submit("echo")), "echo");
  EXPECT_EQ(finished(submit_other("echo")), "echo");
}

TEST_F(FallbackTest, ReplacesAWorkerOfTheFallbackThatHasDied) {
  open_with_fallback(1);
  static_cast<void>(finished(submit("refuse")));
  EXPECT_EQ(ending(submit("die")), Ending::died);
  EXPECT_EQ(finished(submit("echo")), "echo");
  EXPECT_EQ(finished(submit_other("echo")), "echo");
}

TEST_F(FallbackTest, ServesTheOtherKindWhileAWorkerThatHasDiedIsReplaced) {
  open_with_fallback(1);
  static_cast<void>(finished(submit("refuse")));
  world_.hold_starts(true);
  EXPECT_EQ(ending(submit("die")), Ending::died);
  EXPECT_EQ(finished(submit_other("echo")), "echo");
  world_.hold_starts(false);
}

}  // namespace
}  // namespace owngil::runtime

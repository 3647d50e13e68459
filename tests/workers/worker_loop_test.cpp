// SPDX-License-Identifier: BSD-3-Clause
// The loop with a runner that is no Python: first without threads, then with two.
#include "ipc/clock.hpp"
#include "tests/workers/loop_world.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace owngil::workers {
namespace {

using ipc::Format;
using ipc::Status;
using ipc::TaskKind;

TEST(WorkerLoop, AnswersEachTaskInOrder) {
  LoopWorld world;
  FakeRunner runner;
  world.send_call(7, "seven");
  world.send_call(8, std::string(1000, 'x'));
  world.send_stop();
  EXPECT_EQ(world.run(runner), LoopEnd::stopped);

  const Answer seven = world.take().value();
  EXPECT_EQ(seven.task, 7U);
  EXPECT_EQ(seven.position, 0U);
  EXPECT_EQ(seven.status, Status::returned);
  EXPECT_EQ(seven.format, Format::tagged);
  EXPECT_EQ(seven.payload, "seven");
  EXPECT_FALSE(seven.block);
  const Answer eight = world.take().value();
  EXPECT_EQ(eight.task, 8U);
  EXPECT_EQ(eight.position, 1U);
  EXPECT_EQ(eight.payload, std::string(1000, 'x'));
  EXPECT_TRUE(eight.block);
  EXPECT_FALSE(world.take());
}

TEST(WorkerLoop, BeginsATaskBeforeItIsRun) {
  LoopWorld world;
  FakeRunner runner([&](const Task& task, const ReceivedBlobs&, Reply& reply) {
    EXPECT_EQ(world.supervisor().current().task, task.id);
    EXPECT_NE(world.supervisor().current().begun_ns, 0U);
    EXPECT_EQ(world.supervisor().current().state, ipc::WorkerState::ready);
    EXPECT_EQ(world.supervisor().front_result(), nullptr);
    EXPECT_TRUE(reply.set(Status::returned, Format::tagged, {}));
  });
  world.send_call(7);
  world.send_stop();
  world.run(runner);
  EXPECT_EQ(world.supervisor().current().state, ipc::WorkerState::leaving);
  EXPECT_EQ(runner.seen.size(), 1U);
}

TEST(WorkerLoop, AnAnswerSaysThatSomethingWasPrinted) {
  LoopWorld world;
  FakeRunner silent;
  world.send_call(1);
  world.send_stop();
  world.run(silent);
  EXPECT_EQ(world.supervisor().front_result()->flags, 0U);
  world.supervisor().pop_result();

  FakeRunner loud;
  loud.prints = true;
  world.send_call(2);
  world.send_stop();
  world.run(loud);
  EXPECT_EQ(world.supervisor().front_result()->flags, ipc::kPrinted);
}

TEST(WorkerLoop, SkipsATaskThatWasTakenBack) {
  LoopWorld world;
  FakeRunner runner;
  world.send_call(1);
  const std::uint64_t second = world.send_call(2);
  world.send_call(3);
  EXPECT_TRUE(world.supervisor().try_take_back(second));
  world.send_stop();
  world.run(runner);
  EXPECT_EQ(runner.seen, (std::vector<std::uint64_t>{1, 3}));
  EXPECT_EQ(world.take()->task, 1U);
  EXPECT_EQ(world.take()->task, 3U);
  EXPECT_FALSE(world.take());
}

TEST(WorkerLoop, SaysWhenATaskEnded) {
  LoopWorld world;
  FakeRunner runner;
  const std::uint64_t before = ipc::now_ns();
  world.send_call(1);
  world.send_stop();
  world.run(runner);
  const Answer answer = world.take().value();
  EXPECT_GE(answer.ended_ns, before);
  EXPECT_LE(answer.ended_ns, ipc::now_ns());
  EXPECT_EQ(answer.flags, 0);
}

const MemoryReader kFull{[]() noexcept { return std::uint64_t{1'001}; },
                         []() noexcept { return std::uint64_t{1'001}; }};

TEST(WorkerLoop, LeavesWithTheAnswerAfterWhichItHasTooMuchMemory) {
  LoopWorld world;
  FakeRunner runner;
  world.send_call(1);
  const std::uint64_t second = world.send_call(2);
  EXPECT_EQ(world.run(runner, MemoryLimit(1'000, kFull)), LoopEnd::over_memory);
  EXPECT_EQ(runner.seen, (std::vector<std::uint64_t>{1}));
  EXPECT_EQ(world.take()->flags, ipc::kLast);
  EXPECT_FALSE(world.take());
  EXPECT_TRUE(world.was_control_rung());
  EXPECT_TRUE(world.supervisor().try_take_back(second));
}

TEST(WorkerLoop, StaysAsLongAsItHasNoMoreMemoryThanItMay) {
  LoopWorld world;
  FakeRunner runner;
  world.send_call(1);
  world.send_stop();
  EXPECT_EQ(world.run(runner, MemoryLimit(1'001, kFull)), LoopEnd::stopped);
  EXPECT_EQ(world.take()->flags, 0);
  EXPECT_FALSE(world.was_control_rung());
}

TEST(WorkerLoop, IsNotMeasuredAfterItsInitializer) {
  LoopWorld world;
  FakeRunner runner;
  world.send(TaskKind::initialize, 7);
  world.send_stop();
  EXPECT_EQ(world.run(runner, MemoryLimit(1'000, kFull)), LoopEnd::stopped);
}

TEST(WorkerLoop, TaskCannotBeTakenBackOnceItRuns) {
  LoopWorld world;
  std::uint64_t position = 0;
  FakeRunner runner([&](const Task&, const ReceivedBlobs&, Reply& reply) {
    EXPECT_FALSE(world.supervisor().try_take_back(position));
    EXPECT_TRUE(reply.set(Status::returned, Format::tagged, {}));
  });
  position = world.send_call(1);
  world.send_stop();
  world.run(runner);
}

TEST(WorkerLoop, KnowsABlobUntilItIsToForgetIt) {
  LoopWorld world;
  std::vector<std::optional<std::string>> found;
  FakeRunner runner([&](const Task&, const ReceivedBlobs& blobs, Reply& reply) {
    // What the blob was sent in may be used again by now.
    std::memset(world.arguments().at(0), '?', 4096);
    for (const std::uint32_t number : {5U, 6U}) {
      const auto blob = blobs.find(number);
      found.push_back(blob ? std::optional(text_of(*blob)) : std::nullopt);
    }
    EXPECT_TRUE(reply.set(Status::returned, Format::tagged, {}));
  });
  const std::string large(1000, 'x');
  world.send(TaskKind::define, 0, "small", 5, Format::blob);
  world.send(TaskKind::define, 0, large, 6, Format::blob);
  world.send_call(1);
  world.send(TaskKind::forget, 0, "", 5);
  world.send_call(2);
  world.send_stop();
  world.run(runner);
  EXPECT_EQ(found, (std::vector<std::optional<std::string>>{"small", large, std::nullopt, large}));
  EXPECT_EQ(runner.forgotten, std::vector<std::uint32_t>{5});
}

TEST(WorkerLoop, LeavesWhenTheInitializerFails) {
  LoopWorld world;
  FakeRunner runner([](const Task&, const ReceivedBlobs&, Reply& reply) {
    EXPECT_TRUE(reply.set(Status::raised, Format::failure, bytes_of("why")));
  });
  world.send(TaskKind::initialize, 1);
  world.send_call(2);
  EXPECT_EQ(world.run(runner), LoopEnd::initializer_failed);
  EXPECT_EQ(runner.seen, std::vector<std::uint64_t>{1});
  EXPECT_EQ(world.take()->payload, "why");
  EXPECT_EQ(world.supervisor().current().state, ipc::WorkerState::leaving);
}

TEST(WorkerLoop, GoesOnWhenACallFails) {
  LoopWorld world;
  FakeRunner runner([](const Task&, const ReceivedBlobs&, Reply& reply) {
    EXPECT_TRUE(reply.set(Status::raised, Format::failure, bytes_of("why")));
  });
  world.send_call(1);
  world.send_call(2);
  world.send_stop();
  EXPECT_EQ(world.run(runner), LoopEnd::stopped);
  EXPECT_EQ(runner.seen.size(), 2U);
}

TEST(WorkerLoop, AnswersAsManyTasksAsOneThreadSendsToAnother) {
  constexpr std::uint64_t kTasks = 20'000;
  LoopWorld world;
  FakeRunner runner;
  std::thread worker([&] { EXPECT_EQ(world.run(runner), LoopEnd::stopped); });
  std::uint64_t sent = 0;
  std::uint64_t answered = 0;
  while (answered != kTasks) {
    // In bursts, so that the loop meets both an empty ring and a full one.
    const std::uint64_t burst = 1 + sent % 200;
    for (std::uint64_t i = 0; i != burst && sent != kTasks; ++i, ++sent) {
      world.send_call(sent, std::string(sent % 200, 'x'));
    }
    while (answered != sent) {
      const auto answer = world.take();
      if (!answer) {
        std::this_thread::yield();
        continue;
      }
      ASSERT_EQ(answer->task, answered);
      ASSERT_EQ(answer->payload.size(), answered % 200);
      if (answer->block) {
        ASSERT_TRUE(world.supervisor().try_push_release(answer->block->offset));
      }
      ++answered;
    }
    world.free_payloads();
  }
  world.send_stop();
  worker.join();
  EXPECT_EQ(runner.sleeps, runner.wakes);
}

TEST(WorkerLoop, WakesFromItsSleepForATask) {
  LoopWorld world;
  FakeRunner runner;
  std::thread worker([&] { world.run(runner); });
  for (std::uint64_t task = 1; task != 20; ++task) {
    while (!world.supervisor().is_asleep()) std::this_thread::yield();
    world.send_call(task);
    while (!world.take()) std::this_thread::yield();
  }
  world.send_stop();
  worker.join();
  EXPECT_EQ(runner.seen.size(), 19U);
  EXPECT_GE(runner.sleeps, 19);
  EXPECT_EQ(runner.sleeps, runner.wakes);
}

TEST(WorkerLoop, LeavesWhenATaskHasClosedItsBells) {
  LoopWorld world;
  FakeRunner runner;
  world.send_call(7, "seven");
  world.lose_bells();
  EXPECT_EQ(world.run(runner), LoopEnd::cut_off);
  EXPECT_EQ(world.take().value().payload, "seven");
}

TEST(WorkerLoop, LeavesWhenTheRunnerWantsToAfterASleep) {
  LoopWorld world;
  FakeRunner runner;
  runner.goes_on = false;
  std::thread worker([&] { EXPECT_EQ(world.run(runner), LoopEnd::interrupted); });
  while (!world.supervisor().is_asleep()) std::this_thread::yield();
  world.send_call(1);
  worker.join();
  EXPECT_TRUE(runner.seen.empty());
  EXPECT_EQ(world.supervisor().current().state, ipc::WorkerState::leaving);
}

}  // namespace
}  // namespace owngil::workers

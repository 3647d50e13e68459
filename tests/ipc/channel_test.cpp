// SPDX-License-Identifier: BSD-3-Clause
// The channel without threads: both ends step by step, in the orders that matter.
#include "ipc/channel.hpp"

#include "channel_memory.hpp"
#include "ipc/futex.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

namespace owngil::ipc {
namespace {

using testing::ChannelMemory;
using testing::Message;
using testing::push;
using testing::rings;
using testing::serve;

class ChannelTest : public ::testing::Test {
 protected:
  ChannelMemory memory_;
  SupervisorEnd supervisor_{memory_.channel};
  WorkerEnd worker_{memory_.channel, memory_.board_as_worker, memory_.caller_bell.get(),
                    memory_.control_bell.get()};
  BellOwner bell_{memory_.board};
};

TEST_F(ChannelTest, ATaskGoesThereAndItsResultComesBack) {
  EXPECT_EQ(worker_.front_task(), nullptr);
  ASSERT_TRUE(push(supervisor_, 7));
  ASSERT_NE(worker_.front_task(), nullptr);
  EXPECT_EQ(worker_.front_task()->task, 7U);
  EXPECT_EQ(supervisor_.front_result(), nullptr);
  EXPECT_TRUE(serve(worker_));
  const ResultSlot* result = supervisor_.front_result();
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(result->task, 7U);
  EXPECT_EQ(Message(result->bytes).number, 7U);
  supervisor_.pop_result();
  EXPECT_EQ(supervisor_.front_result(), nullptr);
  EXPECT_EQ(worker_.front_task(), nullptr);
}

TEST_F(ChannelTest, GoesOnRoundTheRingForAsLongAsOneLikes) {
  for (std::uint64_t task = 0; task < 3 * kRingSlots + 5; ++task) {
    ASSERT_TRUE(push(supervisor_, task));
    ASSERT_TRUE(serve(worker_));
    ASSERT_EQ(supervisor_.result_position(), task);
    ASSERT_EQ(supervisor_.front_result()->position, task);
    ASSERT_EQ(Message(supervisor_.front_result()->bytes).number, task);
    supervisor_.pop_result();
  }
}

TEST_F(ChannelTest, TheTaskRingIsFullUntilTheWorkerPops) {
  for (std::uint64_t task = 0; task < kRingSlots; ++task) {
    EXPECT_EQ(supervisor_.task_room(), kRingSlots - task);
    ASSERT_TRUE(push(supervisor_, task));
  }
  EXPECT_FALSE(push(supervisor_, 999));
  worker_.pop_task();
  EXPECT_EQ(supervisor_.task_room(), 1U);
  EXPECT_TRUE(push(supervisor_, kRingSlots));
  EXPECT_FALSE(push(supervisor_, 999));
}

// --- C2: who has the task -----------------------------------------------------------------

TEST_F(ChannelTest, ATaskThatWasTakenBackIsNotTheWorkers) {
  push(supervisor_, 1);
  push(supervisor_, 2);
  EXPECT_FALSE(supervisor_.is_claimed(0));
  EXPECT_TRUE(supervisor_.try_take_back(0));
  EXPECT_FALSE(serve(worker_));
  EXPECT_TRUE(serve(worker_));
  ASSERT_NE(supervisor_.front_result(), nullptr);
  EXPECT_EQ(supervisor_.front_result()->task, 2U);
}

TEST_F(ChannelTest, ATaskThatTheWorkerClaimedCannotBeTakenBack) {
  push(supervisor_, 1);
  EXPECT_TRUE(worker_.try_claim());
  EXPECT_TRUE(supervisor_.is_claimed(0));
  EXPECT_FALSE(supervisor_.try_take_back(0));
}

TEST_F(ChannelTest, ATaskIsTakenBackOnce) {
  push(supervisor_, 1);
  EXPECT_TRUE(supervisor_.try_take_back(0));
  EXPECT_FALSE(supervisor_.try_take_back(0));
}

TEST_F(ChannelTest, APositionWhoseSlotHoldsALaterTaskCannotBeTakenBack) {
  push(supervisor_, 1);
  serve(worker_);
  for (std::uint64_t task = 1; task <= kRingSlots; ++task) {
    push(supervisor_, task);
  }
  EXPECT_FALSE(supervisor_.try_take_back(0));
  EXPECT_TRUE(supervisor_.is_claimed(0));
  EXPECT_FALSE(supervisor_.is_claimed(kRingSlots));
  EXPECT_TRUE(supervisor_.try_take_back(kRingSlots));
}

// The worker looks at a task, loses it, and only then tries to claim it.
TEST_F(ChannelTest, TakingBackBetweenTheWorkersLookAndItsClaimWins) {
  push(supervisor_, 1);
  const TaskSlot* seen = worker_.front_task();
  ASSERT_NE(seen, nullptr);
  EXPECT_TRUE(supervisor_.try_take_back(0));
  EXPECT_FALSE(worker_.try_claim());
  worker_.pop_task();
  EXPECT_EQ(worker_.front_task(), nullptr);
}

// --- C4: what the worker says of itself -----------------------------------------------------

TEST_F(ChannelTest, CurrentTellsWhatHasBegun) {
  worker_.set_state(WorkerState::ready, 1234);
  worker_.begin(42, 1'000);
  const CurrentView view = supervisor_.current();
  EXPECT_EQ(view.state, WorkerState::ready);
  EXPECT_EQ(view.task, 42U);
  EXPECT_EQ(view.begun_ns, 1'000U);
  EXPECT_EQ(view.progress, 0U);
  EXPECT_EQ(memory_.channel.current.pid.load(), 1234U);
}

TEST_F(ChannelTest, ANewTaskBeginsWithoutProgressOrChain) {
  worker_.begin(42, 1'000);
  worker_.set_chain({4096, 300});
  worker_.set_progress(5);
  EXPECT_EQ(supervisor_.current().progress, 5U);
  EXPECT_EQ(supervisor_.current().chain.offset, 4096U);
  EXPECT_EQ(supervisor_.current().chain.size, 300U);
  worker_.begin(43, 2'000);
  EXPECT_EQ(supervisor_.current().task, 43U);
  EXPECT_EQ(supervisor_.current().progress, 0U);
  EXPECT_EQ(supervisor_.current().chain.size, 0U);
}

// --- releases -----------------------------------------------------------------------------

TEST_F(ChannelTest, ReleasesComeInOrderAndWaitWhenTheirRingIsFull) {
  EXPECT_EQ(worker_.pop_release(), std::nullopt);
  for (std::uint64_t offset = 0; offset < kReleaseSlots; ++offset) {
    ASSERT_TRUE(supervisor_.try_push_release(offset * 64));
  }
  EXPECT_FALSE(supervisor_.try_push_release(1));
  EXPECT_EQ(worker_.pop_release(), 0U);
  EXPECT_TRUE(supervisor_.try_push_release(kReleaseSlots * 64));
  for (std::uint64_t offset = 1; offset <= kReleaseSlots; ++offset) {
    ASSERT_EQ(worker_.pop_release(), offset * 64);
  }
  EXPECT_EQ(worker_.pop_release(), std::nullopt);
}

// --- the bell -----------------------------------------------------------------------------

TEST_F(ChannelTest, NobodyIsRungUnlessSomebodyAsked) {
  bell_.set(Bell::caller);
  push(supervisor_, 1);
  serve(worker_);
  EXPECT_EQ(rings(memory_.caller_bell), 0U);
}

TEST_F(ChannelTest, RingsOnceItsResultsReachTheMark) {
  bell_.set(Bell::caller);
  EXPECT_TRUE(supervisor_.set_notify_at(2));
  push(supervisor_, 1);
  push(supervisor_, 2);
  serve(worker_);
  EXPECT_EQ(rings(memory_.caller_bell), 0U);
  serve(worker_);
  EXPECT_EQ(rings(memory_.caller_bell), 1U);
  EXPECT_EQ(rings(memory_.control_bell), 0U);
}

TEST_F(ChannelTest, RingsWhomTheBellNames) {
  EXPECT_TRUE(supervisor_.set_notify_at(1));
  for (std::uint64_t task = 0; task < 3; ++task) {
    push(supervisor_, task);
  }
  bell_.set(Bell::control);
  EXPECT_EQ(bell_.who(), Bell::control);
  serve(worker_);
  bell_.set(Bell::nobody);
  serve(worker_);
  EXPECT_EQ(rings(memory_.control_bell), 1U);
  EXPECT_EQ(rings(memory_.caller_bell), 0U);
  bell_.set(Bell::caller);
  serve(worker_);
  EXPECT_EQ(rings(memory_.caller_bell), 1U);
}

// The other order: the result was there before anybody asked to be told of it.
TEST_F(ChannelTest, AskingForWhatIsThereAlreadySaysSo) {
  push(supervisor_, 1);
  serve(worker_);
  bell_.set(Bell::caller);
  EXPECT_FALSE(supervisor_.set_notify_at(1));
  EXPECT_TRUE(supervisor_.set_notify_at(2));
  EXPECT_FALSE(supervisor_.set_notify_at(1));
}

// A ring before the sleep is not lost: C6.
TEST_F(ChannelTest, ARingBetweenTheSleepersLastLookAndItsSleepEndsTheSleep) {
  bell_.set(Bell::caller);
  ASSERT_TRUE(supervisor_.set_notify_at(1));
  push(supervisor_, 1);
  serve(worker_);
  testing::wait_for_ring(memory_.caller_bell);
  EXPECT_NE(supervisor_.front_result(), nullptr);
}

// --- C5: the worker's sleep -----------------------------------------------------------------

TEST_F(ChannelTest, AWorkerThatWasGrantedNothingDoesNotSpin) {
  EXPECT_FALSE(worker_.spin_for_task());
  push(supervisor_, 1);
  EXPECT_TRUE(worker_.spin_for_task());
}

TEST_F(ChannelTest, AWorkerThatMaySpinStopsWhenItsTimeIsOver) {
  supervisor_.set_spin_ns(20'000);
  EXPECT_FALSE(worker_.spin_for_task());
}

TEST_F(ChannelTest, ASleepEndsWithItsLimit) {
  EXPECT_FALSE(worker_.sleep_for_task(0));
  EXPECT_FALSE(worker_.sleep_for_task(1'000));
  EXPECT_FALSE(supervisor_.is_asleep());
}

TEST_F(ChannelTest, AWorkerDoesNotFallAsleepOverATask) {
  push(supervisor_, 1);
  EXPECT_TRUE(worker_.sleep_for_task(kForever));
}

TEST_F(ChannelTest, NobodyIsWokenWhoIsAwake) {
  push(supervisor_, 1);
  EXPECT_FALSE(supervisor_.wake_if_asleep());
}

TEST_F(ChannelTest, ACallThatWokeNobodyIsMadeAgainForTheNextTask) {
  memory_.channel.sleep.epoch.store(1);  // as sleep_for_task does
  EXPECT_TRUE(supervisor_.is_asleep());
  push(supervisor_, 1);
  EXPECT_TRUE(supervisor_.wake_if_asleep());
  push(supervisor_, 2);
  EXPECT_TRUE(supervisor_.wake_if_asleep());
  memory_.channel.sleep.epoch.store(2);
  push(supervisor_, 3);
  EXPECT_FALSE(supervisor_.wake_if_asleep());
}

// The worker has looked and found nothing; then the task is published and the wake-up call comes,
// to nobody; then the worker goes to sleep. The task itself keeps it awake.
TEST_F(ChannelTest, AWakeUpCallBeforeTheSleepIsNotLost) {
  ASSERT_EQ(worker_.front_task(), nullptr);
  memory_.channel.sleep.epoch.store(1);
  push(supervisor_, 1);
  ASSERT_TRUE(supervisor_.wake_if_asleep());
  EXPECT_EQ(futex_wait(memory_.channel.task_tail.value, 0, kForever), Wake::changed);
}

// --- lies ---------------------------------------------------------------------------------

TEST_F(ChannelTest, AWorkerThatLiesInItsCountersIsNotBelievedOutOfBounds) {
  const auto* first = memory_.channel.results;
  for (const std::uint64_t lie : {std::uint64_t{1000}, ~std::uint64_t{0}}) {
    memory_.channel.result_tail.value.store(lie);
    const ResultSlot* result = supervisor_.front_result();
    ASSERT_NE(result, nullptr);
    EXPECT_TRUE(result >= first && result < first + kRingSlots);
    memory_.channel.task_head.value.store(lie);
    EXPECT_LE(supervisor_.task_room(), kRingSlots);
    memory_.channel.release_head.value.store(lie);
    static_cast<void>(supervisor_.try_push_release(0));
    memory_.channel.tasks[0].claim.store(lie);
    EXPECT_FALSE(supervisor_.try_take_back(0));
  }
}

TEST_F(ChannelTest, TheSupervisorDoesNotReadBackWhatItWrote) {
  push(supervisor_, 1);
  memory_.channel.task_tail.value.store(77);
  memory_.channel.orders.notify_at.store(0);
  push(supervisor_, 2);
  EXPECT_EQ(memory_.channel.task_tail.value.load(), 2U);
  EXPECT_EQ(supervisor_.result_position(), 0U);
}

// --- ipc/LAYOUT.md ------------------------------------------------------------------------

std::vector<unsigned> bytes_at(const void* begin, std::size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(begin);
  return {bytes, bytes + size};
}

TEST(LayoutTest, TheWorkedExampleIsWhatTheChannelWrites) {
  ChannelMemory memory;
  SupervisorEnd supervisor(memory.channel);
  WorkerEnd worker(memory.channel, memory.board_as_worker, -1, -1);
  for (std::uint64_t task = 1; task <= 300; ++task) {
    push(supervisor, task);
    if (task <= 10) {
      ASSERT_TRUE(supervisor.try_take_back(task - 1));
    }
    if (serve(worker)) {
      supervisor.pop_result();
    }
  }
  std::memset(&memory.channel.tasks, 0, sizeof memory.channel.tasks);
  std::memset(&memory.channel.results, 0, sizeof memory.channel.results);

  TaskSlot& task = *supervisor.try_reserve_task();
  task.task = 301;
  task.function = 2;
  task.context = 1;
  task.size = 4;
  task.count = 1;
  task.kind = TaskKind::call;
  task.format = Format::tagged;
  task.where = Where::inline_bytes;
  std::memcpy(task.bytes, "\x01\x00\x04\x07", 4);
  supervisor.publish_task();
  EXPECT_EQ(bytes_at(reinterpret_cast<std::byte*>(&memory.channel) + 0x2600, 0x34),
            (std::vector<unsigned>{0xB0, 4, 0, 0, 0, 0, 0, 0, 0x2D, 1, 0, 0, 0, 0, 0, 0,  //
                                   2,    0, 0, 0, 1, 0, 0, 0, 4,    0, 0, 0, 1, 0, 0, 0,  //
                                   1,    1, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0, 0, 0, 0,  //
                                   1,    0, 4, 7}));
  EXPECT_EQ(memory.channel.task_tail.value.load(), 301U);

  ASSERT_NE(worker.front_task(), nullptr);
  ASSERT_TRUE(worker.try_claim());
  EXPECT_EQ(task.claim.load(), 0x4B1U);
  ResultSlot& result = worker.reserve_result();
  result.task = 301;
  result.run_ns = 850;
  result.position = worker.task_position();
  result.size = 2;
  result.count = 1;
  result.status = Status::returned;
  result.format = Format::tagged;
  result.where = Where::inline_bytes;
  result.ended_ns = 5'000'000'850;
  std::memcpy(result.bytes, "\x04\x0E", 2);
  worker.publish_result();
  EXPECT_EQ(bytes_at(reinterpret_cast<std::byte*>(&memory.channel) + 0xA100, 0x32),
            (std::vector<unsigned>{0x2D, 1,   0, 0, 0, 0, 0, 0, 0x52, 3,    0, 0,    0, 0, 0, 0,  //
                                   0x2C, 1,   0, 0, 0, 0, 0, 0, 2,    0,    0, 0,    1, 0, 0, 0,  //
                                   1,    1,   0, 0, 0, 0, 0, 0, 0x52, 0xF5, 5, 0x2A, 1, 0, 0, 0,  //
                                   4,    0x0E}));
  EXPECT_EQ(memory.channel.result_tail.value.load(), 291U);
}

TEST(LayoutTest, TheMagicReadsAsTheNameInMemory) {
  EXPECT_EQ(std::memcmp(&kMagic, "OWNGIL\x01", 8), 0);
}

}  // namespace
}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
// What a worker says of itself, as its supervisor reads it: how long it has run, and the stacks that
// it leaves behind its channel.
#include "runtime/worker_link.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace owngil::runtime {
namespace {

constexpr std::uint64_t kTask = 7;

class StackTest : public ::testing::Test {
 protected:
  // What a worker does in its signal's handler.
  void write(std::string_view text, std::uint64_t task, std::uint32_t signal,
             std::optional<std::uint32_t> size = {}) {
    const auto offset = static_cast<off_t>(ipc::kStackTextOffset);
    EXPECT_EQ(::pwrite(link_.channel_fd(), text.data(), text.size(), offset),
              static_cast<ssize_t>(text.size()));
    ipc::StackDump& dump = channel_.dump;
    dump.task = task;
    dump.signal = signal;
    dump.size = size.value_or(static_cast<std::uint32_t>(text.size()));
    ++dump.number;
  }

  blkcnt_t blocks() const {
    struct stat status{};
    EXPECT_EQ(::fstat(link_.channel_fd(), &status), 0);
    return status.st_blocks;
  }

  WorkerLink link_{0, Lanes{}, 1, 0, 1 << 20, 0};
  ipc::Mapping memory_{link_.channel_fd(), sizeof(ipc::Channel), ipc::Access::read_write};
  ipc::Channel& channel_ = memory_.as<ipc::Channel>();
};

TEST_F(StackTest, ThereIsNoneBeforeTheWorkerWritesOne) {
  EXPECT_EQ(link_.last_stack(0, 0), "");
  EXPECT_EQ(link_.last_stack(kTask, SIGSEGV), "");
}

TEST_F(StackTest, IsThatOfTheTaskAndTheSignal) {
  write("here", kTask, SIGSEGV);
  EXPECT_EQ(link_.last_stack(kTask, SIGSEGV), "here");
}

TEST_F(StackTest, OfAnotherTaskIsNotShown) {
  write("here", kTask - 1, SIGSEGV);
  EXPECT_EQ(link_.last_stack(kTask, SIGSEGV), "");
}

TEST_F(StackTest, ThatTheWorkerHasSurvivedIsNotShownForAnotherDeath) {
  write("here", kTask, SIGSEGV);
  EXPECT_EQ(link_.last_stack(kTask, SIGKILL), "");
}

TEST_F(StackTest, OfADeathThatNobodySawIsThatOfASignalAndNotAnAnswer) {
  write("asked", kTask, 0);
  EXPECT_EQ(link_.last_stack(kTask, std::nullopt), "");
  write("here", kTask, SIGSEGV);
  EXPECT_EQ(link_.last_stack(kTask, std::nullopt), "here");
  EXPECT_EQ(link_.last_stack(kTask + 1, std::nullopt), "");
}

TEST_F(StackTest, AsksAndIsAnsweredByTheNextOneOnly) {
  write("before", kTask, 0);
  link_.expect_stack();
  EXPECT_EQ(link_.answered_stack(kTask), std::nullopt);
  write("here", kTask, 0);
  EXPECT_EQ(link_.answered_stack(kTask), "here");
}

TEST_F(StackTest, AnAnswerFromAnotherTaskIsAnAnswerWithoutAStack) {
  link_.expect_stack();
  write("here", kTask + 1, 0);
  EXPECT_EQ(link_.answered_stack(kTask), "");
}

TEST_F(StackTest, IsAsLongAsItsPlaceAtMost) {
  for (const std::uint32_t size : {static_cast<std::uint32_t>(ipc::kStackTextBytes),
                                   static_cast<std::uint32_t>(ipc::kStackTextBytes + 1),
                                   std::numeric_limits<std::uint32_t>::max()}) {
    write("here", kTask, SIGSEGV, size);
    EXPECT_EQ(link_.last_stack(kTask, SIGSEGV).size(), ipc::kStackTextBytes);
  }
}

TEST_F(StackTest, MayHoldAnyBytes) {
  const std::string_view bytes("\0\xff\n\0", 4);
  write(bytes, kTask, SIGSEGV);
  EXPECT_EQ(link_.last_stack(kTask, SIGSEGV), bytes);
}

TEST_F(StackTest, TakesNoMemoryUntilThereIsOne) {
  const blkcnt_t before = blocks();
  write("", kTask, SIGSEGV, ipc::kStackTextBytes);
  EXPECT_EQ(link_.last_stack(kTask, SIGSEGV).size(), ipc::kStackTextBytes);
  EXPECT_EQ(blocks(), before);
}

TEST_F(StackTest, CannotBeWrittenBeyondItsPlace) {
  const auto end = static_cast<off_t>(ipc::kChannelBytes);
  EXPECT_EQ(::pwrite(link_.channel_fd(), "x", 1, end), -1);
}

TEST(RunTimeTest, IsNotToldIfAWorkerSaysThatItBeganBeforeItsLaunchOrInTheFuture) {
  const WorkerLink link(0, Lanes{}, 1, 0, 1 << 20, 0);
  const std::uint64_t now_ns = link.launched_ns + 1'000;
  const auto ran_ns = [&](std::uint64_t begun_ns) {
    ipc::CurrentView current{};
    current.begun_ns = begun_ns;
    return link.ran_ns(current, now_ns);
  };
  EXPECT_EQ(ran_ns(link.launched_ns + 400), 600U);
  EXPECT_EQ(ran_ns(link.launched_ns), 1'000U);
  EXPECT_EQ(ran_ns(link.launched_ns - 1), 0U);
  EXPECT_EQ(ran_ns(0), 0U);
  EXPECT_EQ(ran_ns(now_ns + 1), 0U);
}

}  // namespace
}  // namespace owngil::runtime

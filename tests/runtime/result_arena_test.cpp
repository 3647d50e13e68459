// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/result_arena.hpp"

#include "ipc/arena.hpp"
#include "ipc/memfd.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace owngil::runtime {
namespace {

constexpr std::size_t kMiB = 1024 * 1024;

class ResultArenaTest : public testing::Test {
 protected:
  ~ResultArenaTest() override { arena_->release(); }

  // A result of the worker's, out.
  ipc::BlockRef result(char value, std::size_t size = kMiB) {
    const ipc::BlockRef made = *worker_.allocate(size);
    std::memset(worker_.at(made.offset), value, size);
    EXPECT_TRUE(arena_->take_out({made}));
    return made;
  }
  void let_go(ipc::BlockRef block) { arena_->let_go(block, ResultArena::stamp()); }
  std::string seen(ipc::BlockRef block) const {
    return {reinterpret_cast<const char*>(arena_->at(block)), block.size};
  }
  std::uint64_t memory() const { return ipc::committed(worker_.fd()); }

  ipc::Arena worker_{"test", 64 * kMiB};
  ResultArena* arena_ = new ResultArena(worker_.fd(), worker_.size());
};

TEST_F(ResultArenaTest, AWorkerGetsBackWhatIsLetGoOf) {
  const ipc::BlockRef first = result('a');
  const ipc::BlockRef second = result('b');
  EXPECT_FALSE(arena_->has_given_back());
  let_go(first);
  EXPECT_TRUE(arena_->has_given_back());
  EXPECT_EQ(arena_->take_given_back(), std::vector{first.offset});
  EXPECT_FALSE(arena_->has_given_back());
  EXPECT_EQ(seen(second), std::string(kMiB, 'b'));
  let_go(second);
}

TEST_F(ResultArenaTest, NothingIsOutTwice) {
  const ipc::BlockRef first = result('a');
  const ipc::BlockRef other = *worker_.allocate(kMiB);
  EXPECT_FALSE(arena_->take_out({other, first}));
  EXPECT_TRUE(arena_->take_out({other}));
  EXPECT_FALSE(arena_->take_out({{other.offset + 64, 1}}));
  EXPECT_FALSE(arena_->take_out({{worker_.size(), 1}}));
  let_go(first);
  let_go(other);
}

// Else what one of them keeps would go with the end of the other.
TEST_F(ResultArenaTest, NothingIsOutThatLiesInPartWhereSomethingElseDoes) {
  const ipc::BlockRef first = result('a', 5 * ipc::kPageBytes + 1);
  const auto pages_behind = [&](std::uint64_t pages) {
    return first.offset + pages * ipc::kPageBytes;
  };
  EXPECT_FALSE(arena_->take_out({{pages_behind(1), 1}}));
  EXPECT_FALSE(arena_->take_out({{pages_behind(5), kMiB}}));
  EXPECT_TRUE(arena_->take_out({{pages_behind(6), kMiB}}));
  EXPECT_FALSE(arena_->take_out({{pages_behind(7), 1}, {pages_behind(600), kMiB}}));
  EXPECT_FALSE(
      arena_->take_out({{pages_behind(600), kMiB}, {pages_behind(500), 101 * ipc::kPageBytes}}));
  EXPECT_TRUE(arena_->take_out({{pages_behind(600), kMiB}}));
  let_go({pages_behind(600), kMiB});
  arena_->lose_worker();
  EXPECT_EQ(seen(first), std::string(first.size, 'a'));
  let_go({pages_behind(6), kMiB});
  EXPECT_EQ(seen(first), std::string(first.size, 'a'));
  let_go(first);
}

TEST_F(ResultArenaTest, OnceTheWorkerIsGoneOnlyWhatIsOutKeepsMemory) {
  const ipc::BlockRef first = result('a');
  const ipc::BlockRef second = result('b');
  const ipc::BlockRef third = result('c');
  let_go(first);
  let_go(third);
  arena_->lose_worker();
  EXPECT_EQ(memory(), kMiB);
  EXPECT_EQ(seen(second), std::string(kMiB, 'b'));
  let_go(second);
  EXPECT_TRUE(arena_->take_given_back().empty());
}

TEST_F(ResultArenaTest, WhatIsSharedStaysOutUntilNobodyHasIt) {
  const ipc::BlockRef block = result('a');
  SharedBlock* const part = ResultArena::freeze(arena_->at(block) + 5000, 100'000);
  ASSERT_NE(part, nullptr);
  std::memset(arena_->at(block), 'x', kMiB);  // the user's own
  EXPECT_EQ(std::string(reinterpret_cast<char*>(part->data()), 100'000), std::string(100'000, 'a'));
  let_go(block);
  EXPECT_FALSE(arena_->has_given_back());
  part->release();
  EXPECT_EQ(arena_->take_given_back(), std::vector{block.offset});
}

TEST_F(ResultArenaTest, WhatTheUserHasWrittenToCannotBeFrozen) {
  const ipc::BlockRef block = result('a');
  arena_->at(block)[10] = std::byte{1};
  EXPECT_EQ(ResultArena::freeze(arena_->at(block), kMiB), nullptr);
  SharedBlock* const rest = ResultArena::freeze(arena_->at(block) + 4096, kMiB - 4096);
  ASSERT_NE(rest, nullptr);
  rest->release();
  let_go(block);
}

TEST_F(ResultArenaTest, WhatIsSharedOutlivesTheWorker) {
  const ipc::BlockRef block = result('a');
  SharedBlock* const shared = ResultArena::freeze(arena_->at(block), kMiB);
  arena_->lose_worker();
  EXPECT_EQ(memory(), kMiB);
  SharedBlock* const again = ResultArena::freeze(arena_->at(block), kMiB);
  ASSERT_NE(again, nullptr);
  shared->release();
  let_go(block);
  EXPECT_EQ(memory(), kMiB);
  again->release();
  EXPECT_EQ(memory(), 0);
}

TEST_F(ResultArenaTest, FindsWhatIsItsOwnAndOut) {
  const ipc::BlockRef block = result('a');
  std::byte elsewhere{};
  EXPECT_EQ(ResultArena::freeze(&elsewhere, 1), nullptr);
  EXPECT_EQ(ResultArena::freeze(arena_->at(block), kMiB + 1), nullptr);
  std::byte* const was = arena_->at(block);
  let_go(block);
  EXPECT_EQ(ResultArena::freeze(was, 1), nullptr);
}

TEST_F(ResultArenaTest, WhatWasOutAtAForkIsNeverGivenBack) {
  const ipc::BlockRef block = result('a');
  const std::uint64_t made = ResultArena::stamp();
  const pid_t child = ::fork();
  if (child == 0) {
    arena_->let_go(block, made);
    ::_exit(seen(block) == std::string(kMiB, 'a') ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  arena_->let_go(block, made);
  EXPECT_FALSE(arena_->has_given_back());
}

}  // namespace
}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// What an arena gives back once nothing has used it for a while, and what it keeps.
#include "runtime/spare_memory.hpp"

#include "ipc/arena.hpp"
#include "ipc/futex.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace owngil::runtime {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kKept = SpareMemory::kKept;
constexpr std::uint64_t kUnusedNs = SpareMemory::kUnusedNs;

class SpareMemoryTest : public testing::Test {
 protected:
  std::uint64_t allocate(std::uint64_t size) {
    const auto block = arena_.allocate(size);
    EXPECT_TRUE(block);
    spare_.on_allocated();
    return block ? block->offset : 0;
  }

  bool free(std::uint64_t offset) {
    arena_.free(offset);
    return spare_.on_freed();
  }

  void look_when_due() { spare_.look(spare_.due_ns()); }

  // The looks that it takes until none is due.
  int look_until_done() {
    int looks = 0;
    for (; spare_.due_ns() != ipc::kForever && looks != 100; ++looks) look_when_due();
    return looks;
  }

  ipc::Arena arena_{"test", 1024 * kMiB};
  SpareMemory spare_{arena_};
};

TEST_F(SpareMemoryTest, LittleIsNeverGivenBack) {
  EXPECT_FALSE(free(allocate(kKept / 2)));
  EXPECT_EQ(spare_.due_ns(), ipc::kForever);
  spare_.look(~std::uint64_t{1});
  EXPECT_GE(arena_.committed(), kKept / 2);
}

TEST_F(SpareMemoryTest, MuchIsGivenBackOnceItHasNotBeenUsedForAWhileAPartAtATime) {
  const std::uint64_t before = ipc::now_ns();
  ASSERT_TRUE(free(allocate(300 * kMiB)));
  const std::uint64_t due = spare_.due_ns();
  EXPECT_GE(due, before + kUnusedNs);
  spare_.look(due - 1);  // too early
  EXPECT_EQ(spare_.due_ns(), due);
  EXPECT_GE(arena_.committed(), 300 * kMiB);
  look_when_due();  // it was in use since the look before this one, of which there is none
  EXPECT_GE(arena_.committed(), 300 * kMiB);
  EXPECT_EQ(spare_.due_ns(), due + kUnusedNs);
  std::uint64_t least = arena_.committed();
  for (look_when_due(); spare_.due_ns() != ipc::kForever; look_when_due()) {
    EXPECT_LT(arena_.committed(), least);
    EXPECT_GE(arena_.committed() + SpareMemory::kStep + 4 * kMiB, least);
    least = arena_.committed();
  }
  EXPECT_LE(arena_.committed(), kKept + 4 * kMiB);
  EXPECT_GE(arena_.committed() + 4 * kMiB, kKept);
}

TEST_F(SpareMemoryTest, WhatIsUsedNowAndThenStays) {
  ASSERT_TRUE(free(allocate(400 * kMiB)));
  for (int round = 0; round != 20; ++round) {
    EXPECT_FALSE(free(allocate(200 * kMiB)));  // a look is due already
    look_when_due();
    ASSERT_NE(spare_.due_ns(), ipc::kForever);
  }
  EXPECT_GE(arena_.committed(), 200 * kMiB);
  EXPECT_LE(arena_.committed(), 200 * kMiB + kKept + 4 * kMiB);
  look_until_done();
  EXPECT_LE(arena_.committed(), kKept + 4 * kMiB);
}

TEST_F(SpareMemoryTest, WhatIsInUseStaysAndWhatLiesAroundItGoes) {
  const std::uint64_t low = allocate(200 * kMiB);
  const std::uint64_t middle = allocate(kMiB);
  const std::uint64_t high = allocate(200 * kMiB);
  const std::uint64_t last = allocate(kMiB);
  *arena_.at(middle) = std::byte{7};
  *arena_.at(last) = std::byte{8};
  ASSERT_TRUE(free(low));
  EXPECT_FALSE(free(high));
  look_until_done();
  EXPECT_EQ(*arena_.at(middle), std::byte{7});
  EXPECT_EQ(*arena_.at(last), std::byte{8});
  EXPECT_LE(arena_.committed(), kKept + 8 * kMiB);
  ASSERT_TRUE(free(allocate(300 * kMiB)));  // it comes again, and goes again
  look_until_done();
  EXPECT_LE(arena_.committed(), kKept + 8 * kMiB);
}

TEST_F(SpareMemoryTest, ItDoesNotLookForEverForWhatCannotBeGivenBack) {
  arena_.give_up_file();
  const std::uint64_t block = allocate(100 * kMiB);
  if (block == 0 && arena_.in_use() == 0) GTEST_SKIP() << "before Linux 5.14 there is no memory";
  static_cast<void>(free(block));
  EXPECT_LE(look_until_done(), 3);
}

}  // namespace
}  // namespace owngil::runtime

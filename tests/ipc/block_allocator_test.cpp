// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/block_allocator.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <vector>

namespace owngil::ipc {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;

TEST(BlockAllocatorTest, RoundsUpByAQuarterAtMost) {
  for (std::uint64_t size = 257; size <= BlockAllocator::kSmallBytes; ++size) {
    BlockAllocator blocks(kMiB);
    ASSERT_TRUE(blocks.allocate(size));
    ASSERT_GE(blocks.in_use(), size);
    ASSERT_LE(blocks.in_use(), size + size / 4);
    ASSERT_EQ(blocks.in_use() % BlockAllocator::kAlignment, 0U);
  }
}

TEST(BlockAllocatorTest, NothingTakesNoLessThanALine) {
  BlockAllocator blocks(kMiB);
  const auto first = blocks.allocate(0);
  const auto second = blocks.allocate(0);
  ASSERT_TRUE(first && second);
  EXPECT_NE(*first, *second);
}

TEST(BlockAllocatorTest, HandsOutTheSameBlockAgainOnceItIsFree) {
  for (const std::uint64_t size : {1U, 100U, 5000U, 70'000U}) {
    BlockAllocator blocks(kMiB);
    const auto first = blocks.allocate(size);
    ASSERT_TRUE(first);
    blocks.free(*first);
    EXPECT_EQ(blocks.in_use(), 0U);
    EXPECT_EQ(blocks.allocate(size), first);
  }
}

TEST(BlockAllocatorTest, GivesNothingWhenNoHoleIsLargeEnough) {
  BlockAllocator blocks(kMiB);
  EXPECT_FALSE(blocks.allocate(kMiB + 1));
  EXPECT_FALSE(blocks.allocate(~std::uint64_t{0}));
  const auto half = blocks.allocate(kMiB / 2);
  ASSERT_TRUE(half);
  EXPECT_FALSE(blocks.allocate(kMiB / 2 + 1));
  ASSERT_TRUE(blocks.allocate(kMiB / 2));
  EXPECT_FALSE(blocks.allocate(1));
  blocks.free(*half);
  EXPECT_TRUE(blocks.allocate(1));
}

TEST(BlockAllocatorTest, MakesOneRunOfFreeNeighboursInWhateverOrderTheyWereFreed) {
  std::vector<std::size_t> order{0, 1, 2, 3};
  do {
    BlockAllocator blocks(4 * 64 * 1024);
    std::vector<std::uint64_t> quarters;
    for (int i = 0; i < 4; ++i) {
      quarters.push_back(blocks.allocate(64 * 1024).value());
    }
    for (const std::size_t i : order) {
      blocks.free(quarters[i]);
    }
    ASSERT_EQ(blocks.used_end(), 0U);
    ASSERT_EQ(blocks.allocate(4 * 64 * 1024), 0U);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(BlockAllocatorTest, TakesTheHoleThatFitsBestAndTheLowestOfEquals) {
  BlockAllocator blocks(16 * kMiB);
  std::vector<std::uint64_t> holes;
  for (const std::uint64_t size : {100'000U, 60'000U, 60'000U, 200'000U}) {
    holes.push_back(blocks.allocate(size).value());
    ASSERT_TRUE(blocks.allocate(10'000));  // keeps the holes apart
  }
  for (const std::uint64_t hole : holes) {
    blocks.free(hole);
  }
  EXPECT_EQ(blocks.allocate(60'000), holes[1]);
  EXPECT_EQ(blocks.allocate(60'000), holes[2]);
  EXPECT_EQ(blocks.allocate(60'000), holes[0]);
  EXPECT_EQ(blocks.allocate(60'000), holes[3]);
}

TEST(BlockAllocatorTest, EmptySlabsBecomeRunsAgain) {
  BlockAllocator blocks(kMiB);
  std::vector<std::uint64_t> out;
  while (const auto block = blocks.allocate(64)) {
    out.push_back(*block);
  }
  EXPECT_EQ(out.size(), kMiB / 64);
  for (const std::uint64_t block : out) {
    blocks.free(block);
  }
  EXPECT_EQ(blocks.in_use(), 0U);
  EXPECT_TRUE(blocks.allocate(kMiB - 64 * 1024));  // all but the slab that is kept
}

TEST(BlockAllocatorTest, HighWaterNeverFallsAndUsedEndDoes) {
  BlockAllocator blocks(16 * kMiB);
  const auto low = blocks.allocate(kMiB);
  const auto high = blocks.allocate(2 * kMiB);
  ASSERT_TRUE(low && high);
  EXPECT_EQ(blocks.high_water(), 3 * kMiB);
  blocks.free(*high);
  EXPECT_EQ(blocks.high_water(), 3 * kMiB);
  EXPECT_EQ(blocks.used_end(), kMiB);
  blocks.free(*low);
  EXPECT_EQ(blocks.used_end(), 0U);
}

// B1 and B2 under a long random walk, checked against a map of what is out.
TEST(BlockAllocatorTest, BlocksNeverOverlapWhateverComesAndGoes) {
  constexpr std::uint64_t kSize = 8 * kMiB;
  BlockAllocator blocks(kSize);
  std::map<std::uint64_t, std::uint64_t> out;
  std::mt19937_64 random(20);
  for (int step = 0; step < 100'000; ++step) {
    if (out.empty() || random() % 100 < 52) {
      const std::uint64_t size = random() % 4 == 0 ? random() % 300'000 : random() % 5'000;
      const auto offset = blocks.allocate(size);
      if (!offset) {
        continue;
      }
      ASSERT_EQ(*offset % BlockAllocator::kAlignment, 0U);
      ASSERT_LE(*offset + size, blocks.high_water());
      const auto after = out.lower_bound(*offset);
      if (after != out.end()) {
        ASSERT_LE(*offset + size, after->first);
      }
      if (after != out.begin()) {
        ASSERT_LE(std::prev(after)->first + std::prev(after)->second, *offset);
      }
      out.emplace(*offset, std::max<std::uint64_t>(size, 1));
    } else {
      auto victim = out.lower_bound(random() % kSize);
      if (victim == out.end()) {
        victim = out.begin();
      }
      blocks.free(victim->first);
      out.erase(victim);
    }
  }
  for (const auto& [offset, size] : out) {
    blocks.free(offset);
  }
  EXPECT_EQ(blocks.in_use(), 0U);
}

TEST(BlockAllocatorDeathTest, AWrongFreeIsABugAndAborts) {
  BlockAllocator blocks(kMiB);
  const std::uint64_t small = blocks.allocate(100).value();
  const std::uint64_t large = blocks.allocate(100'000).value();
  EXPECT_DEATH(blocks.free(small + 64), "should hold");
  EXPECT_DEATH(blocks.free(large + 4096), "should hold");
  EXPECT_DEATH(blocks.free(kMiB * 2), "should hold");
  blocks.free(small);
  blocks.free(large);
  EXPECT_DEATH(blocks.free(small), "should hold");
  EXPECT_DEATH(blocks.free(large), "should hold");
}

}  // namespace
}  // namespace owngil::ipc

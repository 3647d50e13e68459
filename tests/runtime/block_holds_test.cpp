// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/block_holds.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace owngil::runtime {
namespace {

using Dropped = BlockHolds::Dropped;

TEST(BlockHolds, TellWhichDropIsTheLast) {
  BlockHolds holds;
  holds.add(0);
  holds.add(4096);
  holds.add(0);
  EXPECT_EQ(holds.drop(0), Dropped::one);
  EXPECT_EQ(holds.drop(0), Dropped::last);
  EXPECT_EQ(holds.drop(0), Dropped::none);
  EXPECT_FALSE(holds.empty());
  EXPECT_EQ(holds.drop(4096), Dropped::last);
  EXPECT_TRUE(holds.empty());
}

TEST(BlockHolds, DropAllNamesEachHoldOnce) {
  BlockHolds holds;
  for (const std::uint64_t offset : {7, 9, 7, 7}) holds.add(offset);
  std::vector<std::uint64_t> dropped;
  holds.drop_all([&](std::uint64_t offset) { dropped.push_back(offset); });
  std::ranges::sort(dropped);
  EXPECT_EQ(dropped, (std::vector<std::uint64_t>{7, 7, 7, 9}));
  EXPECT_TRUE(holds.empty());
}

}  // namespace
}  // namespace owngil::runtime

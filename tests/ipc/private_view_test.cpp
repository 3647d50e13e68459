// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/private_view.hpp"

#include "ipc/arena.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace owngil::ipc {
namespace {

constexpr std::size_t kMiB = 1024 * 1024;

class PrivateViewTest : public testing::TestWithParam<std::size_t> {
 protected:
  // A block of the owner's, filled.
  BlockRef block(std::byte value) {
    const BlockRef made = *arena_.allocate(GetParam());
    std::memset(arena_.at(made.offset), static_cast<int>(value), made.size);
    return made;
  }
  static std::byte first(const std::byte* data) { return *data; }
  std::byte last(const std::byte* data) const { return data[GetParam() - 1]; }

  Arena arena_{"test", 64 * kMiB};
  PrivateView view_{arena_.fd(), arena_.size()};
};

// Below and above the size from which on it is asked which pages were written.
INSTANTIATE_TEST_SUITE_P(Sizes, PrivateViewTest, testing::Values(64 * 1024 + 1, 3 * kMiB));

TEST_P(PrivateViewTest, WritesStayOnOneSide) {
  const BlockRef mine = block(std::byte{1});
  std::byte* const seen = view_.checked(mine);
  EXPECT_EQ(last(seen), std::byte{1});
  EXPECT_FALSE(has_own_pages(seen, mine.size));
  seen[mine.size - 1] = std::byte{2};
  EXPECT_TRUE(has_own_pages(seen, mine.size));
  EXPECT_TRUE(has_own_pages(seen + mine.size - 1, 1));
  EXPECT_FALSE(has_own_pages(seen, kPageBytes));
  EXPECT_EQ(last(arena_.at(mine.offset)), std::byte{1});
}

TEST_P(PrivateViewTest, ForgettingShowsWhatTheOwnerHas) {
  const BlockRef mine = block(std::byte{1});
  std::byte* const seen = view_.checked(mine);
  seen[0] = seen[mine.size / 2] = seen[mine.size - 1] = std::byte{2};
  view_.forget_writes(mine);
  EXPECT_FALSE(has_own_pages(seen, mine.size));
  std::memset(arena_.at(mine.offset), 3, mine.size);
  for (std::size_t i = 0; i != mine.size; ++i) ASSERT_EQ(seen[i], std::byte{3}) << i;
}

TEST_P(PrivateViewTest, ForgettingOneBlockLeavesItsNeighbours) {
  const BlockRef before = block(std::byte{1});
  const BlockRef mine = block(std::byte{1});
  const BlockRef behind = block(std::byte{1});
  for (const BlockRef one : {before, mine, behind}) {
    std::memset(view_.checked(one), 2, one.size);
  }
  view_.forget_writes(mine);
  EXPECT_EQ(last(view_.at(before)), std::byte{2});
  EXPECT_EQ(first(view_.at(mine)), std::byte{1});
  EXPECT_EQ(last(view_.at(mine)), std::byte{1});
  EXPECT_EQ(first(view_.at(behind)), std::byte{2});
}

TEST_P(PrivateViewTest, AChildOfForkWritesForItself) {
  const BlockRef mine = block(std::byte{1});
  std::byte* const seen = view_.checked(mine);
  seen[0] = std::byte{2};
  const pid_t child = ::fork();
  if (child == 0) {
    const bool as_it_was = first(seen) == std::byte{2} && last(seen) == std::byte{1};
    std::memset(seen, 3, mine.size);
    ::_exit(as_it_was ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(first(seen), std::byte{2});
  EXPECT_EQ(last(seen), std::byte{1});
  EXPECT_EQ(last(arena_.at(mine.offset)), std::byte{1});
}

TEST(PrivateView, RefusesWhatLiesElsewhere) {
  const Arena arena("test", kMiB);
  PrivateView view(arena.fd(), arena.size());
  EXPECT_NE(view.checked({0, kMiB}), nullptr);
  EXPECT_EQ(view.checked({0, 0}), nullptr);
  EXPECT_EQ(view.checked({0, kMiB + 1}), nullptr);
  EXPECT_EQ(view.checked({kMiB, 1}), nullptr);
  EXPECT_EQ(view.checked({64, 1}), nullptr);
  EXPECT_EQ(view.checked({kPageBytes, ~std::uint64_t{0}}), nullptr);
  EXPECT_EQ(view.checked({~std::uint64_t{0} - kPageBytes + 1, kPageBytes}), nullptr);
}

}  // namespace
}  // namespace owngil::ipc

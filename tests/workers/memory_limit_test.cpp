// SPDX-License-Identifier: BSD-3-Clause
#include "workers/memory_limit.hpp"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>

namespace owngil::workers {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
// So far apart that each look is due.
constexpr std::uint64_t kLater = 3'600'000'000'000;

std::uint64_t resident = 0;
std::uint64_t exactly_private = 0;
int looks = 0;
int exact_looks = 0;

const MemoryReader kPlayed{[]() noexcept {
                             ++looks;
                             return resident;
                           },
                           []() noexcept {
                             ++exact_looks;
                             return exactly_private;
                           }};

class MemoryLimitTest : public testing::Test {
 protected:
  void SetUp() override { looks = exact_looks = 0; }
};

// Written to, so that it is the process's own.
class Pages {
 public:
  explicit Pages(std::size_t size)
      : size_(size),
        data_(static_cast<char*>(
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    touch();
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() { ::munmap(data_, size_); }

  void touch() {
    for (std::size_t at = 0; at < size_; at += 4096) data_[at] = static_cast<char>(data_[at] + 1);
  }

 private:
  std::size_t size_;
  char* data_;
};

TEST_F(MemoryLimitTest, IsNeverLookedAtWithoutALimit) {
  const MemoryLimit none(0, kPlayed);
  EXPECT_FALSE(none.is_look_due(0));
  EXPECT_FALSE(none.is_look_due(kLater));
}

TEST_F(MemoryLimitTest, AsksForTheExactFigureOnlyOnceMoreIsResidentThanIsAllowed) {
  MemoryLimit limit(100 * kMiB, kPlayed);
  resident = 100 * kMiB;
  exactly_private = 101 * kMiB;
  EXPECT_FALSE(limit.is_exceeded(1));
  EXPECT_EQ(exact_looks, 0);
  resident = 101 * kMiB;
  EXPECT_TRUE(limit.is_exceeded(kLater));
  EXPECT_EQ(exact_looks, 1);
}

TEST_F(MemoryLimitTest, AllowsWhatIsSharedWithTheTemplate) {
  MemoryLimit limit(100 * kMiB, kPlayed);
  resident = 900 * kMiB;
  exactly_private = 100 * kMiB;
  EXPECT_FALSE(limit.is_exceeded(1));
}

TEST_F(MemoryLimitTest, IsNotLookedAtAgainForAHundredTimesAsLongAsALookTook) {
  MemoryLimit limit(100 * kMiB, kPlayed);
  resident = 0;
  EXPECT_TRUE(limit.is_look_due(1'000));
  EXPECT_FALSE(limit.is_exceeded(1'000));
  EXPECT_FALSE(limit.is_look_due(1'001));
  EXPECT_TRUE(limit.is_look_due(kLater));
}

TEST_F(MemoryLimitTest, LooksExactlyAtOnceAfterAGrowthThatMayHaveReachedTheLimit) {
  MemoryLimit limit(100 * kMiB, kPlayed);
  resident = 500 * kMiB;
  exactly_private = 20 * kMiB;
  EXPECT_FALSE(limit.is_exceeded(1));
  // No time has passed for the next exact look, but then it is due by the growth.
  resident = 579 * kMiB;
  EXPECT_FALSE(limit.is_exceeded(2));
  EXPECT_EQ(exact_looks, 1);
  resident = 581 * kMiB;
  exactly_private = 101 * kMiB;
  EXPECT_TRUE(limit.is_exceeded(3));
  EXPECT_EQ(exact_looks, 2);
}

TEST_F(MemoryLimitTest, TellsNothingThatTheKernelDoesNotTell) {
  MemoryLimit limit(100 * kMiB, kPlayed);
  resident = 0;
  EXPECT_FALSE(limit.is_exceeded(1));
  resident = 200 * kMiB;
  exactly_private = 0;
  EXPECT_FALSE(limit.is_exceeded(kLater));
}

TEST(MemoryOfThisProcess, GrowsWithPagesOfItsOwnAndShrinksWithThem) {
  const MemoryReader reader = memory_of_this_process();
  const std::uint64_t before = reader.exactly_private();
  ASSERT_GT(before, 0U);
  EXPECT_GE(reader.resident(), before);
  {
    const Pages pages(64 * kMiB);
    EXPECT_GE(reader.exactly_private(), before + 60 * kMiB);
    EXPECT_GE(reader.resident(), before + 60 * kMiB);
  }
  EXPECT_LT(reader.exactly_private(), before + 30 * kMiB);
}

TEST(MemoryOfThisProcess, CountsPagesThatItSharesWithItsParentOnceItHasWrittenToThem) {
  Pages pages(64 * kMiB);
  const pid_t child = ::fork();
  if (child == 0) {
    const MemoryReader reader = memory_of_this_process();
    const std::uint64_t before = reader.exactly_private();
    const bool is_shared = before < 60 * kMiB && reader.resident() >= 60 * kMiB;
    pages.touch();
    ::_exit(is_shared && reader.exactly_private() >= before + 60 * kMiB ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace owngil::workers

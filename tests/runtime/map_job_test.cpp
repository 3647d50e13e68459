// SPDX-License-Identifier: BSD-3-Clause
// How a map is cut into segments, and what it keeps.
#include "runtime/map_job.hpp"

#include "ipc/item.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

namespace owngil::runtime {
namespace {

class MapJobTest : public testing::Test {
 protected:
  ~MapJobTest() override {
    while (Segment* segment = job_.first) {
      job_.first = segment->following;
      delete segment;
    }
  }

  // Adds items of one number each.
  void add(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t number = job_.added++;
      std::byte* item = job_.items.extend(ipc::kShortHead + sizeof number);
      item = ipc::put_item_head(item, sizeof number, ipc::Format::tagged, ipc::Status::returned);
      std::memcpy(item, &number, sizeof number);
    }
  }

  std::vector<std::uint64_t> numbers(const Segment& segment) const {
    std::vector<std::uint64_t> numbers;
    for (std::size_t at = segment.begin; at != segment.end; at = skip_items(job_, at, 1)) {
      std::memcpy(&numbers.emplace_back(), job_.items.data() + at + ipc::kShortHead, 8);
    }
    return numbers;
  }

  void complete(Segment& segment) {
    segment.stage.store(Stage::complete);
    --job_.live;
  }

  void consume() {
    Segment* segment = job_.first;
    job_.first = segment->following;
    if (job_.first == nullptr) job_.last = nullptr;
    delete segment;
  }

  MapJob job_;
};

TEST_F(MapJobTest, CutsItemsInTheirOrderWithoutGaps) {
  add(10);
  Segment& first = cut_segment(job_, 3);
  Segment& second = cut_segment(job_, 100);
  EXPECT_EQ(numbers(first), (std::vector<std::uint64_t>{0, 1, 2}));
  EXPECT_EQ(numbers(second), (std::vector<std::uint64_t>{3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(job_.first, &first);
  EXPECT_EQ(first.following, &second);
  EXPECT_EQ(job_.cut, 10U);
}

TEST_F(MapJobTest, TakesOneItemUntilItKnowsHowLongOneTakes) {
  add(1'000);
  EXPECT_EQ(segment_items(job_, 2), 1U);
}

TEST_F(MapJobTest, TakesAsManyAsTheUserSays) {
  add(1'000);
  job_.chunk_size = 30;
  EXPECT_EQ(segment_items(job_, 2), 30U);
}

TEST_F(MapJobTest, TakesFewerTowardsTheEndSoThatAllWorkersEndTogether) {
  add(1'000);
  job_.item_ns = 1'000;
  std::uint64_t before = segment_items(job_, 2);
  EXPECT_EQ(before, 250U);
  while (job_.cut < job_.added) {
    static_cast<void>(cut_segment(job_, segment_items(job_, 2)));
    if (job_.cut == job_.added) break;
    const std::uint64_t now = segment_items(job_, 2);
    EXPECT_LE(now, before);
    before = now;
  }
  EXPECT_EQ(before, 1U);
}

TEST_F(MapJobTest, KeepsSegmentsOfLongItemsShort) {
  add(100'000);
  job_.item_ns = 1'000'000;
  EXPECT_EQ(segment_items(job_, 2), 8U);
  job_.item_ns = 1'000'000'000;
  EXPECT_EQ(segment_items(job_, 2), 1U);
}

TEST_F(MapJobTest, KeepsNoMoreOfAnEndlessMapThanIsUnderWay) {
  std::uint64_t expected = 0;
  std::size_t most = 0;
  add(10);
  for (int i = 0; i < 10'000; ++i) {
    Segment& segment = cut_segment(job_, 5);
    ASSERT_EQ(numbers(segment).front(), expected);
    expected += 5;
    if (i > 0) {
      complete(*job_.first);
      consume();
    }
    drop_done_items(job_);
    if (i > 0) {
      ASSERT_EQ(numbers(*job_.first).back(), expected - 1);
    }
    add(5);
    most = std::max(most, job_.items.size());
  }
  EXPECT_LT(most, 2'000U);
}

}  // namespace
}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// Replies: bytes in the slot, bytes in a block, chains of items, and no memory for any of them.
#include "tests/workers/loop_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace owngil::workers {
namespace {

using ipc::Format;
using ipc::Status;

// The reply of one task, written by the test.
class ReplyTest : public testing::Test {
 protected:
  explicit ReplyTest(std::size_t results_size = 64 * 1024) : world(results_size) {
    world.worker().begin(1, 1);
  }

  Answer publish() {
    world.worker().publish_result();
    return world.take().value();
  }

  LoopWorld world;
  ResultMemory memory{world.results(), world.worker()};
  Reply reply{world.worker().reserve_result(), world.worker(), memory};
};

TEST_F(ReplyTest, SmallBytesLieInTheSlot) {
  const std::string most(ipc::kInlineBytes, 'x');
  ASSERT_TRUE(reply.set(Status::raised, Format::failure, bytes_of(most)));
  EXPECT_EQ(reply.status(), Status::raised);
  const Answer answer = publish();
  EXPECT_EQ(answer.format, Format::failure);
  EXPECT_EQ(answer.payload, most);
  EXPECT_FALSE(answer.block);
  EXPECT_EQ(world.results().in_use(), 0U);
}

TEST_F(ReplyTest, LargerBytesLieInABlockThatIsUsedAgainOnceReleased) {
  const std::string large(ipc::kInlineBytes + 1, 'x');
  ASSERT_TRUE(reply.set(Status::returned, Format::pickle, bytes_of(large)));
  const Answer answer = publish();
  EXPECT_EQ(answer.payload, large);
  const std::uint64_t in_use = world.results().in_use();
  EXPECT_GT(in_use, 0U);

  ASSERT_TRUE(world.supervisor().try_push_release(answer.block->offset));
  const auto next = memory.allocate(large.size());
  ASSERT_TRUE(next);
  EXPECT_EQ(next->offset, answer.block->offset);
  EXPECT_EQ(world.results().in_use(), in_use);
}

TEST_F(ReplyTest, BytesThatFitNowhereAreRefused) {
  const std::string huge(world.results().size() + 1, 'x');
  EXPECT_FALSE(reply.set(Status::returned, Format::pickle, bytes_of(huge)));
  reply.set_untold_failure();
  const Answer answer = publish();
  EXPECT_EQ(answer.status, Status::raised);
  EXPECT_EQ(answer.format, Format::none);
  EXPECT_EQ(answer.payload, "");
}

TEST_F(ReplyTest, ItemsComeInOrderAndEachIsCompleteAtOnce) {
  ASSERT_TRUE(reply.items().open(3));
  std::vector<Item> expected;
  for (std::uint64_t i = 0; i != 3; ++i) {
    const Item item{i == 1 ? Status::raised : Status::returned,
                    i == 1 ? Format::failure : Format::tagged, std::string(i, 'x')};
    ASSERT_TRUE(reply.items().add(item.status, item.format, bytes_of(item.payload)));
    expected.push_back(item);
    // This is how they are found should the worker die now.
    const ipc::CurrentView current = world.supervisor().current();
    EXPECT_EQ(current.progress, i + 1);
    EXPECT_EQ(world.read_chain(current.chain, i + 1).items, expected);
  }
  reply.close_items();
  const Answer answer = publish();
  EXPECT_EQ(answer.status, Status::chunk);
  EXPECT_EQ(answer.count, 3U);
  EXPECT_EQ(world.read_chain(answer.block.value(), 3).items, expected);
}

class ReplyWithRoomTest : public ReplyTest {
 protected:
  ReplyWithRoomTest() : ReplyTest(std::size_t{64} << 20) {}
};

TEST_F(ReplyWithRoomTest, ItemsOfAnySizeGoOnInFurtherBlocks) {
  constexpr std::uint32_t kItems = 3000;
  std::vector<Item> expected;
  ASSERT_TRUE(reply.items().open(kItems));
  std::size_t size = 1;
  std::size_t all = 0;
  for (std::uint32_t i = 0; i != kItems; ++i) {
    size = (size * 7 + i) % (i % 100 == 0 ? 300'000 : 200);
    all += size + ipc::kLongHead;
    expected.push_back({Status::returned, Format::tagged, std::string(size, 'x')});
    ASSERT_TRUE(
        reply.items().add(Status::returned, Format::tagged, bytes_of(expected.back().payload)));
  }
  reply.close_items();
  const LoopWorld::Chain chain = world.read_chain(publish().block.value(), kItems);
  EXPECT_EQ(chain.items, expected);
  EXPECT_GT(chain.blocks, 1U);
  EXPECT_LE(world.results().in_use(), 2 * all);
}

TEST_F(ReplyWithRoomTest, SmallItemsTakeOneBlockHoweverMany) {
  constexpr std::uint32_t kItems = 32'000;
  ASSERT_TRUE(reply.items().open(kItems));
  for (std::uint32_t i = 0; i != kItems; ++i) {
    ASSERT_TRUE(reply.items().add(Status::returned, Format::tagged, bytes_of("1234567")));
  }
  reply.close_items();
  EXPECT_EQ(world.read_chain(publish().block.value(), kItems).blocks, 1U);
  EXPECT_LE(world.results().in_use(), kItems * 20U);
}

TEST_F(ReplyTest, EveryItemGetsAnAnswerWhenMemoryEnds) {
  constexpr std::uint32_t kItems = 1000;
  const std::string payload(500, 'x');
  ASSERT_TRUE(reply.items().open(kItems));
  std::uint32_t untold = 0;
  for (std::uint32_t i = 0; i != kItems; ++i) {
    if (reply.items().add(Status::returned, Format::tagged, bytes_of(payload))) continue;
    reply.items().add_untold_failure();
    ++untold;
  }
  reply.close_items();
  EXPECT_GT(untold, 0U);
  const std::vector<Item> items = world.read_chain(publish().block.value(), kItems).items;
  EXPECT_EQ(std::count(items.begin(), items.end(), Item{Status::raised, Format::none, ""}), untold);
  EXPECT_EQ(std::count(items.begin(), items.end(), Item{Status::returned, Format::tagged, payload}),
            kItems - untold);
}

TEST_F(ReplyTest, AChainThatCannotBeOpenedIsRefused) {
  while (memory.allocate(1024)) {
  }
  EXPECT_FALSE(reply.items().open(1000));
}

TEST_F(ReplyTest, AChunkWithoutItemsIsAChain) {
  ASSERT_TRUE(reply.items().open(0));
  reply.close_items();
  const Answer answer = publish();
  EXPECT_EQ(answer.count, 0U);
  EXPECT_TRUE(world.read_chain(answer.block.value(), 0).items.empty());
}

}  // namespace
}  // namespace owngil::workers

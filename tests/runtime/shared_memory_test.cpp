// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/shared_memory.hpp"

#include "ipc/memfd.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace owngil::runtime {
namespace {

constexpr std::size_t kMiB = 1024 * 1024;

class SharedMemoryTest : public testing::Test {
 protected:
  std::byte* make(std::size_t size) {
    block_ = memory_.make(size).value();
    return memory_.at(block_);
  }
  void let_go() { memory_.let_go(block_, memory_.stamp()); }

  SharedMemory memory_{64 * kMiB};
  ipc::BlockRef block_{};
};

std::string text_of(const SharedBlock& block) {
  return {reinterpret_cast<const char*>(block.data()), block.name().size};
}

TEST_F(SharedMemoryTest, WhatIsPutIsCopiedAndFreedWithTheLastHold) {
  const std::string text(100'000, 'x');
  SharedBlock* const block = memory_.put(text.data(), text.size());
  ASSERT_NE(block, nullptr);
  block->retain();
  block->release();
  EXPECT_EQ(text_of(*block), text);
  EXPECT_GE(memory_.in_use(), text.size());
  block->release();
  EXPECT_EQ(memory_.in_use(), 0);
}

TEST_F(SharedMemoryTest, AFrozenPartShowsWhatWasThereWhenItWasFrozen) {
  std::byte* const data = make(kMiB);
  std::memset(data, 'a', kMiB);
  SharedBlock* const part = memory_.freeze(data + 100'000, 200'000);
  ASSERT_NE(part, nullptr);
  std::memset(data, 'b', kMiB);
  EXPECT_EQ(text_of(*part), std::string(200'000, 'a'));
  EXPECT_EQ(data[150'000], std::byte{'b'});
  part->release();
  let_go();
  EXPECT_EQ(memory_.in_use(), 0);
}

TEST_F(SharedMemoryTest, WhatWasWrittenSinceItWasFrozenIsNotFrozenAgain) {
  std::byte* const data = make(kMiB);
  SharedBlock* const first = memory_.freeze(data, kMiB);
  ASSERT_NE(first, nullptr);
  SharedBlock* const again = memory_.freeze(data, kMiB);
  ASSERT_NE(again, nullptr);
  data[kMiB / 2] = std::byte{1};
  EXPECT_EQ(memory_.freeze(data, kMiB), nullptr);
  SharedBlock* const half = memory_.freeze(data, kMiB / 2);
  EXPECT_NE(half, nullptr);
  for (SharedBlock* one : {first, again, half}) one->release();
  let_go();
}

TEST_F(SharedMemoryTest, OnceItIsLetGoOfWritesReachTheMemoryAgain) {
  std::byte* const data = make(kMiB);
  memory_.freeze(data, kMiB)->release();
  let_go();
  std::byte* const again = make(kMiB);
  ASSERT_EQ(again, data);
  std::memset(again, 'c', kMiB);
  SharedBlock* const block = memory_.freeze(again, kMiB);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(text_of(*block), std::string(kMiB, 'c'));
  block->release();
  let_go();
}

TEST_F(SharedMemoryTest, OutlivesTheUsersObjectWhileItIsShared) {
  std::byte* const data = make(kMiB);
  std::memset(data, 'd', kMiB);
  SharedBlock* const block = memory_.freeze(data, kMiB);
  std::memset(data, 'e', kMiB);
  let_go();
  EXPECT_EQ(text_of(*block), std::string(kMiB, 'd'));
  EXPECT_GE(memory_.in_use(), kMiB);
  block->release();
  EXPECT_EQ(memory_.in_use(), 0);
}

TEST_F(SharedMemoryTest, KnowsWhatIsNotItsOwn) {
  std::byte* const data = make(100'000);
  std::byte elsewhere{};
  EXPECT_EQ(memory_.freeze(&elsewhere, 1), nullptr);
  EXPECT_EQ(memory_.freeze(data + 2 * kMiB, 1), nullptr);
  EXPECT_EQ(memory_.freeze(data, kMiB), nullptr);
  let_go();
}

TEST_F(SharedMemoryTest, SaysThatThereIsNoMore) {
  EXPECT_FALSE(memory_.make(65 * kMiB));
  EXPECT_FALSE(memory_.make(~std::uint64_t{0}));
  EXPECT_EQ(memory_.in_use(), 0);
}

TEST_F(SharedMemoryTest, EachHasANumberAndAPlaceOfItsOwn) {
  SharedBlock* const first = memory_.put("abc", 3);
  SharedBlock* const second = memory_.put("abc", 3);
  EXPECT_NE(first->name().offset, second->name().offset);
  EXPECT_NE(first->name().offset & ipc::kShared, 0);
  EXPECT_NE(first->place().offset, second->place().offset);
  const auto file = ipc::file_id(static_cast<int>(first->place().fd));
  EXPECT_EQ(file, (ipc::FileId{first->place().device, first->place().inode}));
  first->release();
  second->release();
}

}  // namespace
}  // namespace owngil::runtime

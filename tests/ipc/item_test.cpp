// SPDX-License-Identifier: BSD-3-Clause
// The heads of a chunk's items, and that no bytes make one that reaches beyond them.
#include "ipc/item.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace owngil::ipc {
namespace {

std::vector<std::byte> item(std::size_t size, Format format, Status status) {
  std::vector<std::byte> bytes(item_head(size, format, status) + size);
  EXPECT_EQ(put_item_head(bytes.data(), size, format, status), &*bytes.end() - size);
  return bytes;
}

TEST(ItemTest, SmallPlainItemThatReturnedHasAHeadOfOneByte) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kLongestShortItem}) {
    EXPECT_EQ(item(size, Format::tagged, Status::returned).size(), kShortHead + size);
  }
}

TEST(ItemTest, EveryItemIsReadAsItWasWritten) {
  for (const std::size_t size : {std::size_t{0}, kLongestShortItem, kLongestShortItem + 1,
                                 std::size_t{256}, std::size_t{100'000}}) {
    for (const Format format : {Format::tagged, Format::pickle, Format::failure}) {
      for (const Status status : {Status::returned, Status::raised}) {
        const std::vector<std::byte> bytes = item(size, format, status);
        const std::optional<Item> read = read_item(bytes);
        ASSERT_TRUE(read);
        EXPECT_EQ(read->size, size);
        EXPECT_EQ(read->end(), bytes.size());
        EXPECT_EQ(read->format, format);
        EXPECT_EQ(read->status, status);
      }
    }
  }
}

TEST(ItemTest, AnUntoldFailureIsItsHeadAlone) {
  const std::byte untold{static_cast<std::uint8_t>(ItemMark::untold)};
  const std::optional<Item> read = read_item({&untold, 1});
  ASSERT_TRUE(read);
  EXPECT_EQ(read->end(), 1U);
  EXPECT_EQ(read->status, Status::raised);
  EXPECT_EQ(read->format, Format::none);
}

TEST(ItemTest, NoPartOfAnItemIsAnItem) {
  for (const std::size_t size : {std::size_t{1}, kLongestShortItem, kLongestShortItem + 1}) {
    const std::vector<std::byte> bytes = item(size, Format::tagged, Status::returned);
    for (std::size_t part = 0; part < bytes.size(); ++part) {
      EXPECT_FALSE(read_item(std::span(bytes).first(part))) << part;
    }
  }
}

TEST(ItemTest, TheWayToTheNextBlockIsNoItem) {
  const std::vector<std::byte> bytes(16,
                                     std::byte{static_cast<std::uint8_t>(ItemMark::next_block)});
  EXPECT_TRUE(is_marked(bytes[0], ItemMark::next_block));
  EXPECT_FALSE(read_item(bytes));
}

TEST(ItemTest, RandomBytesNeverMakeAnItemThatIsLongerThanThey) {
  std::mt19937 random(1);
  for (int i = 0; i < 100'000; ++i) {
    std::vector<std::byte> bytes(random() % 300);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    if (!bytes.empty() && i % 2 == 0) {
      bytes[0] = static_cast<std::byte>(kLongestShortItem + random() % 4);
    }
    const std::optional<Item> read = read_item(bytes);
    if (read) {
      ASSERT_LE(read->end(), bytes.size());
      ASSERT_GE(read->end(), kShortHead);
    }
  }
}

}  // namespace
}  // namespace owngil::ipc

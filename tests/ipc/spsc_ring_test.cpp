// SPDX-License-Identifier: BSD-3-Clause
// First without threads, in every order that matters; then with two.
#include "ipc/spsc_ring.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <random>
#include <thread>

namespace owngil::ipc {
namespace {

constexpr std::uint64_t kSlots = 4;

struct Slot {
  std::uint64_t number;
  std::uint64_t complement;
};

template <std::uint64_t kCount>
struct Memory {
  std::atomic<std::uint64_t> tail{0};
  std::atomic<std::uint64_t> head{0};
  std::array<Slot, kCount> slots{};

  RingProducer<Slot, kCount> producer() { return {tail, head, slots.data()}; }
  RingConsumer<const Slot, kCount> consumer() { return {tail, head, slots.data()}; }
};

class SpscRingTest : public ::testing::Test {
 protected:
  bool push(std::uint64_t number) {
    Slot* slot = producer_.try_reserve();
    if (slot == nullptr) {
      return false;
    }
    *slot = {number, ~number};
    producer_.publish();
    return true;
  }

  std::uint64_t pop() {
    const Slot* slot = consumer_.front();
    EXPECT_NE(slot, nullptr);
    const std::uint64_t number = slot->number;
    consumer_.pop();
    return number;
  }

  Memory<kSlots> memory_;
  RingProducer<Slot, kSlots> producer_ = memory_.producer();
  RingConsumer<const Slot, kSlots> consumer_ = memory_.consumer();
};

TEST_F(SpscRingTest, FrontIsNothingUntilPublish) {
  EXPECT_EQ(consumer_.front(), nullptr);
  *producer_.try_reserve() = {17, 0};
  EXPECT_EQ(consumer_.front(), nullptr);
  producer_.publish();
  ASSERT_NE(consumer_.front(), nullptr);
  EXPECT_EQ(consumer_.front()->number, 17U);
}

TEST_F(SpscRingTest, ReserveAndFrontAnswerTheSameUntilPublishAndPop) {
  EXPECT_EQ(producer_.try_reserve(), producer_.try_reserve());
  push(1);
  push(2);
  EXPECT_EQ(consumer_.front(), consumer_.front());
  EXPECT_EQ(pop(), 1U);
  EXPECT_EQ(pop(), 2U);
}

TEST_F(SpscRingTest, IsFullAfterAsManyAsThereAreSlotsUntilPop) {
  for (std::uint64_t i = 0; i < kSlots; ++i) {
    EXPECT_EQ(producer_.room(), kSlots - i);
    EXPECT_TRUE(push(i));
  }
  EXPECT_EQ(producer_.room(), 0U);
  EXPECT_FALSE(push(99));
  EXPECT_EQ(pop(), 0U);
  EXPECT_TRUE(push(4));
  EXPECT_FALSE(push(99));
}

TEST_F(SpscRingTest, PositionsCountWhatWasPublishedAndPopped) {
  for (std::uint64_t i = 0; i < 3 * kSlots; ++i) {
    EXPECT_EQ(producer_.position(), i);
    EXPECT_EQ(consumer_.position(), i);
    push(i);
    EXPECT_EQ(pop(), i);
  }
  EXPECT_EQ(memory_.tail.load(), 3 * kSlots);
  EXPECT_EQ(memory_.head.load(), 3 * kSlots);
}

TEST_F(SpscRingTest, KeepsTheOrderThroughEveryPatternOfPushAndPop) {
  std::mt19937_64 random(3);
  std::deque<std::uint64_t> model;
  for (std::uint64_t step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      ASSERT_EQ(push(step), model.size() < kSlots);
      if (model.size() < kSlots) {
        model.push_back(step);
      }
    } else if (model.empty()) {
      ASSERT_EQ(consumer_.front(), nullptr);
    } else {
      ASSERT_EQ(pop(), model.front());
      model.pop_front();
    }
  }
}

// R3: neither end reads its own counter back.
TEST_F(SpscRingTest, AnEndDoesNotBelieveItsOwnCounterInSharedMemory) {
  push(1);
  memory_.tail.store(1000);
  push(2);
  EXPECT_EQ(memory_.tail.load(), 2U);
  EXPECT_EQ(pop(), 1U);
  memory_.head.store(1000);
  EXPECT_EQ(pop(), 2U);
  EXPECT_EQ(memory_.head.load(), 2U);
}

TEST_F(SpscRingTest, ABrokenPeersCounterNeverLeadsOutOfTheSlots) {
  for (const std::uint64_t lie : {std::uint64_t{5}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    memory_.tail.store(lie);
    auto consumer = memory_.consumer();
    const Slot* slot = consumer.front();
    EXPECT_TRUE(slot >= memory_.slots.data() && slot < memory_.slots.data() + kSlots);

    memory_.head.store(lie);
    auto producer = memory_.producer();
    EXPECT_LE(producer.room(), kSlots);
    for (std::uint64_t i = 0; i < 2 * kSlots; ++i) {
      const Slot* mine = producer.try_reserve();
      if (mine == nullptr) {
        break;
      }
      EXPECT_TRUE(mine >= memory_.slots.data() && mine < memory_.slots.data() + kSlots);
      producer.publish();
    }
  }
}

// Each step of either end, against each state that the other may have left behind: the producer
// refreshes its remembered head exactly when the ring looks full, the consumer its tail when empty.
TEST_F(SpscRingTest, RemembersTheOtherCounterAndErrsTowardsFullAndEmptyOnly) {
  for (std::uint64_t i = 0; i < kSlots; ++i) {
    push(i);
  }
  ASSERT_EQ(pop(), 0U);
  memory_.head.store(0);  // the pop is not visible to the producer yet
  EXPECT_FALSE(push(99));
  memory_.head.store(1);  // now it is
  EXPECT_TRUE(push(kSlots));
  memory_.tail.store(kSlots);  // that push is not visible to the consumer yet
  for (std::uint64_t i = 1; i < kSlots; ++i) {
    EXPECT_EQ(pop(), i);
  }
  EXPECT_EQ(consumer_.front(), nullptr);
  memory_.tail.store(kSlots + 1);
  EXPECT_EQ(pop(), kSlots);
}

template <std::uint64_t kCount>
void two_threads(std::uint64_t messages) {
  Memory<kCount> memory;
  std::thread thread([&memory, messages] {
    auto producer = memory.producer();
    for (std::uint64_t number = 0; number < messages;) {
      Slot* slot = producer.try_reserve();
      if (slot == nullptr) {
        std::this_thread::yield();
        continue;
      }
      *slot = {number, ~number};
      producer.publish();
      ++number;
    }
  });
  auto consumer = memory.consumer();
  for (std::uint64_t number = 0; number < messages;) {
    const Slot* slot = consumer.front();
    if (slot == nullptr) {
      std::this_thread::yield();
      continue;
    }
    EXPECT_EQ(slot->number, number);
    EXPECT_EQ(slot->complement, ~number);
    consumer.pop();
    ++number;
  }
  thread.join();
  EXPECT_EQ(consumer.front(), nullptr);
}

TEST(SpscRingThreadsTest, EverySlotArrivesWholeAndInOrder) {
  two_threads<1>(2'000);
  two_threads<2>(5'000);
  two_threads<256>(100'000);
}

}  // namespace
}  // namespace owngil::ipc

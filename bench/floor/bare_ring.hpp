// SPDX-License-Identifier: BSD-3-Clause
// The floor: the least that moves a slot from one process to another.
//
// One producer, one consumer, 128-byte slots, remembered peer counters, spinning with `pause`.
// Nothing is claimed, nobody can sleep, nothing is asked of the peer. Written from scratch, so that
// a slip in ipc/spsc_ring.hpp cannot slow both down.
#pragma once

#include <atomic>
#include <cstdint>

namespace owngil::bench {

struct alignas(128) BareSlot {
  std::uint64_t number;
  std::uint64_t payload[2];
};

struct BareRing {
  static constexpr std::uint64_t kSlots = 256;

  alignas(128) std::atomic<std::uint64_t> tail;
  alignas(128) std::atomic<std::uint64_t> head;
  alignas(4096) BareSlot slots[kSlots];
};

class BareProducer {
 public:
  explicit BareProducer(BareRing& ring) : ring_(ring) {}

  bool try_push(std::uint64_t number, std::uint64_t a, std::uint64_t b) {
    if (tail_ - head_ == BareRing::kSlots) {
      head_ = ring_.head.load(std::memory_order_acquire);
      if (tail_ - head_ == BareRing::kSlots) {
        return false;
      }
    }
    BareSlot& slot = ring_.slots[tail_ % BareRing::kSlots];
    slot.number = number;
    slot.payload[0] = a;
    slot.payload[1] = b;
    ring_.tail.store(++tail_, std::memory_order_release);
    return true;
  }

 private:
  BareRing& ring_;
  std::uint64_t tail_ = 0;
  std::uint64_t head_ = 0;
};

class BareConsumer {
 public:
  explicit BareConsumer(BareRing& ring) : ring_(ring) {}

  bool try_pop(std::uint64_t& number, std::uint64_t& a, std::uint64_t& b) {
    if (head_ == tail_) {
      tail_ = ring_.tail.load(std::memory_order_acquire);
      if (head_ == tail_) {
        return false;
      }
    }
    const BareSlot& slot = ring_.slots[head_ % BareRing::kSlots];
    number = slot.number;
    a = slot.payload[0];
    b = slot.payload[1];
    ring_.head.store(++head_, std::memory_order_release);
    return true;
  }

 private:
  BareRing& ring_;
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;
};

}  // namespace owngil::bench

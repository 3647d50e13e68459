// SPDX-License-Identifier: BSD-3-Clause
// A ring between one producer and one consumer, in memory that two processes share.
//
// Threads: each end by one thread at a time. Processes: an end lives in its owner's private
//   memory; shared are the slots and two counters. `tail` and the slots are written by the
//   producer's process, `head` by the consumer's.
// Lifetime: the ends borrow the memory. Counters and slots begin as zeros.
// Not: a judge of the peer. A counter that a broken peer wrote can make an end say full, or hand
//   out a slot with old bytes; it never makes one touch memory outside of the slots.
// Invariants:
//   R1  tail and head count all slots ever published and popped; they never wrap (2^64).
//   R2  head ≤ tail ≤ head + kSlots, each as its own writer sees it.
//   R3  Each end keeps its own counter privately and never reads it back.
//   R4  Between pop and the peer's sight of it, no one touches the slot.
//
// Why it is right. Position p lives in slot p mod kSlots.
//  - What the producer wrote into the slot happens before its release store of tail = p + 1
//    (`publish`). The consumer touches the slot only after an acquire load of tail that returned
//    p + 1 or more (`look_for_more`). Such a load reads from that store or from a later one by the
//    same thread; so what was written is seen, whole.
//  - The consumer's last look at position p happens before its release store of head = p + 1
//    (`pop`). The producer writes position p + kSlots into the same slot only after an acquire
//    load of head that returned p + 1 or more (`look_for_room`). So a slot is never overwritten
//    while it is read.
//  - Each end remembers the last value that it saw of the other's counter. An old value is
//    smaller than the true one, never larger, and errs towards "full" and "empty"; before either
//    answer is given, the counter is looked at again.
//  - Four accesses, two pairs, and nothing stronger: neither end ever waits for the other here.
//    Who sleeps needs more than this; see fence.hpp.
//
// Why it is fast. While the producer does not meet a full ring and the consumer lags behind by
// more than one slot, each works from its remembered value, and the line of a counter crosses
// between the CPUs once for many slots. One at a time, a message costs two crossings: the line of
// tail and the line of the slot.
#pragma once

#include <atomic>
#include <cstdint>

namespace owngil::ipc {

template <class Slot, std::uint64_t kSlots>
class RingProducer {
  static_assert(kSlots > 0 && (kSlots & (kSlots - 1)) == 0, "slot = position & (kSlots - 1)");

 public:
  RingProducer(std::atomic<std::uint64_t>& tail, const std::atomic<std::uint64_t>& head,
               Slot* slots) noexcept
      : tail_word_(&tail), head_word_(&head), slots_(slots) {}

  // The slot to fill in next, or nullptr if the ring is full. The same one until publish.
  [[nodiscard]] Slot* try_reserve() noexcept {
    if (tail_ - head_seen_ >= kSlots) {
      look_for_room();
      if (tail_ - head_seen_ >= kSlots) {
        return nullptr;
      }
    }
    return &slots_[tail_ & (kSlots - 1)];
  }

  // The same where something else bounds what is outstanding, so that the ring is never full.
  [[nodiscard]] Slot& reserve_unchecked() noexcept { return slots_[tail_ & (kSlots - 1)]; }

  // Hands the reserved slot over. Returns its position.
  std::uint64_t publish() noexcept {
    const std::uint64_t position = tail_++;
    tail_word_->store(tail_, std::memory_order_release);  // pairs with: look_for_more
    return position;
  }

  // How many slots can be published now.
  [[nodiscard]] std::uint64_t room() noexcept {
    look_for_room();
    const std::uint64_t used = tail_ - head_seen_;
    return used >= kSlots ? 0 : kSlots - used;
  }

  // Of the slot that try_reserve returns: how many were published before it.
  [[nodiscard]] std::uint64_t position() const noexcept { return tail_; }

 private:
  void look_for_room() noexcept {
    head_seen_ = head_word_->load(std::memory_order_acquire);  // pairs with: pop
  }

  // immutable after construction
  std::atomic<std::uint64_t>* tail_word_;
  const std::atomic<std::uint64_t>* head_word_;
  Slot* slots_;
  // the producer's thread
  std::uint64_t tail_ = 0;
  std::uint64_t head_seen_ = 0;
};

template <class Slot, std::uint64_t kSlots>
class RingConsumer {
  static_assert(kSlots > 0 && (kSlots & (kSlots - 1)) == 0, "slot = position & (kSlots - 1)");

 public:
  RingConsumer(const std::atomic<std::uint64_t>& tail, std::atomic<std::uint64_t>& head,
               Slot* slots) noexcept
      : tail_word_(&tail), head_word_(&head), slots_(slots) {}

  // The oldest slot that was published and not popped, or nullptr. The same one until pop.
  [[nodiscard]] Slot* front() noexcept {
    if (head_ == tail_seen_) {
      look_for_more();
      if (head_ == tail_seen_) {
        return nullptr;
      }
    }
    return &slots_[head_ & (kSlots - 1)];
  }

  // Gives the front slot back; the producer may overwrite it from now on.
  void pop() noexcept {
    ++head_;
    head_word_->store(head_, std::memory_order_release);  // pairs with: look_for_room
  }

  // Of the front slot: how many were popped before it.
  [[nodiscard]] std::uint64_t position() const noexcept { return head_; }

  // Looks at the counter even if slots are known to be there. How many were ever published.
  std::uint64_t look_for_more() noexcept {
    tail_seen_ = tail_word_->load(std::memory_order_acquire);  // pairs with: publish
    return tail_seen_;
  }

 private:
  // immutable after construction
  const std::atomic<std::uint64_t>* tail_word_;
  std::atomic<std::uint64_t>* head_word_;
  Slot* slots_;
  // the consumer's thread
  std::uint64_t head_ = 0;
  std::uint64_t tail_seen_ = 0;
};

}  // namespace owngil::ipc

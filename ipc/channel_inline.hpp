// SPDX-License-Identifier: BSD-3-Clause
// The parts of channel.hpp that run once or more for every task. Included by it alone.
#pragma once

#include "ipc/channel.hpp"
#include "ipc/check.hpp"
#include "ipc/fence.hpp"

namespace owngil::ipc {

// A word of `claim`.
[[nodiscard]] constexpr std::uint64_t claim_word(std::uint64_t position,
                                                 ClaimState state) noexcept {
  return position << 2 | static_cast<std::uint64_t>(state);
}

// --- the supervisor's end -----------------------------------------------------------------

inline TaskSlot* SupervisorEnd::try_reserve_task() noexcept { return tasks_.try_reserve(); }

inline std::uint64_t SupervisorEnd::publish_task() noexcept {
  TaskSlot& slot = tasks_.reserve_unchecked();
  // relaxed: publish orders it, as all of the slot
  slot.claim.store(claim_word(tasks_.position(), ClaimState::free), std::memory_order_relaxed);
  return tasks_.publish();
}

inline bool SupervisorEnd::try_take_back(std::uint64_t position) noexcept {
  std::uint64_t expected = claim_word(position, ClaimState::free);
  // relaxed: one side wins by atomicity alone, and the loser reads nothing of the winner's
  return channel_->tasks[position & (kRingSlots - 1)].claim.compare_exchange_strong(
      expected, claim_word(position, ClaimState::taken_back), std::memory_order_relaxed);
}

inline bool SupervisorEnd::is_claimed(std::uint64_t position) const noexcept {
  // relaxed: a hint
  return channel_->tasks[position & (kRingSlots - 1)].claim.load(std::memory_order_relaxed) !=
         claim_word(position, ClaimState::free);
}

inline std::optional<ClaimState> SupervisorEnd::claim_of(std::uint64_t position) const noexcept {
  // relaxed: asked after the worker's death, which orders everything
  const std::uint64_t word =
      channel_->tasks[position & (kRingSlots - 1)].claim.load(std::memory_order_relaxed);
  const auto state = static_cast<ClaimState>(word & 3);
  if (word >> 2 != position || state > ClaimState::taken_back) return std::nullopt;
  return state;
}

inline bool SupervisorEnd::is_asleep() const noexcept {
  // relaxed: a hint; wake_if_asleep has its fence
  return (channel_->sleep.epoch.load(std::memory_order_relaxed) & 1) != 0;
}

inline const ResultSlot* SupervisorEnd::front_result() noexcept { return results_.front(); }

inline void SupervisorEnd::pop_result() noexcept { results_.pop(); }

inline std::uint64_t SupervisorEnd::result_position() const noexcept { return results_.position(); }

inline bool SupervisorEnd::try_push_release(std::uint64_t offset) noexcept {
  std::atomic<std::uint64_t>* slot = releases_.try_reserve();
  if (slot == nullptr) {
    return false;
  }
  slot->store(offset, std::memory_order_relaxed);  // publish orders it
  releases_.publish();
  return true;
}

inline std::optional<std::uint64_t> SupervisorEnd::pop_return() noexcept {
  const std::atomic<std::uint64_t>* slot = returns_.front();
  if (slot == nullptr) {
    return std::nullopt;
  }
  const std::uint64_t buffer = slot->load(std::memory_order_relaxed);  // front ordered it
  returns_.pop();
  return buffer;
}

// --- the worker's end ---------------------------------------------------------------------

inline const TaskSlot* WorkerEnd::front_task() noexcept { return tasks_.front(); }

inline std::uint64_t WorkerEnd::task_position() const noexcept { return tasks_.position(); }

inline bool WorkerEnd::try_claim() noexcept {
  const std::uint64_t position = tasks_.position();
  std::uint64_t expected = claim_word(position, ClaimState::free);
  // relaxed: as in try_take_back
  if (channel_.tasks[position & (kRingSlots - 1)].claim.compare_exchange_strong(
          expected, claim_word(position, ClaimState::worker), std::memory_order_relaxed)) {
    return true;
  }
  // Something has written over it: whoever waits for this task would wait for ever.
  OWNGIL_CHECK(expected == claim_word(position, ClaimState::taken_back));
  return false;
}

inline void WorkerEnd::pop_task() noexcept { tasks_.pop(); }

inline bool WorkerEnd::spin_for_task() noexcept {
  return tasks_.front() != nullptr || spin_within_budget();
}

inline ResultSlot& WorkerEnd::reserve_result() noexcept { return results_.reserve_unchecked(); }

inline void WorkerEnd::publish_result() noexcept {
  results_.publish();  // C3
  full_fence();        // fence with: set_notify_at, BellOwner::set
  // relaxed: the fence orders it
  if (results_.position() >= channel_.orders.notify_at.load(std::memory_order_relaxed)) {
    ring();
  }
}

inline std::optional<std::uint64_t> WorkerEnd::pop_release() noexcept {
  const std::atomic<std::uint64_t>* slot = releases_.front();
  if (slot == nullptr) {
    return std::nullopt;
  }
  const std::uint64_t offset = slot->load(std::memory_order_relaxed);  // front ordered it
  releases_.pop();
  return offset;
}

inline bool WorkerEnd::try_push_return(std::uint64_t buffer) noexcept {
  std::atomic<std::uint64_t>* slot = returns_.try_reserve();
  if (slot == nullptr) {
    return false;
  }
  slot->store(buffer, std::memory_order_relaxed);  // publish orders it
  returns_.publish();
  return true;
}

inline void WorkerEnd::begin(std::uint64_t task, std::uint64_t now_ns) noexcept {
  Current& current = channel_.current;
  // `task` last: who finds this task there finds no progress of the one before it.
  current.progress.store(0, std::memory_order_relaxed);
  current.chain_offset.store(0, std::memory_order_relaxed);
  current.chain_size.store(0, std::memory_order_relaxed);
  current.begun_ns.store(now_ns, std::memory_order_relaxed);
  current.blame.store(0, std::memory_order_relaxed);
  current.task.store(task, std::memory_order_release);  // pairs with: SupervisorEnd::current
}

inline void WorkerEnd::set_chain(BlockRef first) noexcept {
  // relaxed: the next set_progress orders them
  channel_.current.chain_offset.store(first.offset, std::memory_order_relaxed);
  channel_.current.chain_size.store(first.size, std::memory_order_relaxed);
}

inline void WorkerEnd::set_progress(std::uint64_t items) noexcept {
  channel_.current.progress.store(items, std::memory_order_release);  // pairs with: current
}

inline void WorkerEnd::begin_item(std::uint64_t now_ns) noexcept {
  channel_.current.begun_ns.store(now_ns, std::memory_order_release);  // pairs with: current
}

inline void WorkerEnd::end_item() noexcept {
  channel_.current.begun_ns.store(0, std::memory_order_relaxed);  // set_progress orders it
}

inline bool WorkerEnd::is_stop_ordered(std::uint64_t task) const noexcept {
  // relaxed: a hint
  return channel_.orders.stop_task.load(std::memory_order_relaxed) == task;
}

inline bool WorkerEnd::is_stop_ordered_after_item(std::uint64_t task) const noexcept {
  full_fence();  // fence with: order_stop
  return is_stop_ordered(task);
}

// --- the bell -----------------------------------------------------------------------------

inline void BellOwner::set(Bell who) noexcept {
  who_ = who;
  // relaxed: the fence orders it
  board_->bell.store(static_cast<std::uint32_t>(who), std::memory_order_relaxed);
  full_fence();  // fence with: publish_result
}

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
// A worker that scribbles: it writes nonsense over all the shared memory that it can write.
//
// Some of it is random bytes; most of it is nearly right, which gets further: a true task id with
// an untrue size, a chain of results that bites its tail, a counter that is one too high.
// Threads: one for each life. Lifetime: borrows the memory of the worker that it plays.
// Not: the loop; that would trip over its own scribbles and take the test's process with it.
#pragma once

#include "ipc/arena.hpp"
#include "ipc/buffer_list.hpp"
#include "ipc/futex.hpp"
#include "ipc/layout.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>

namespace owngil::runtime {

class Scribbler {
 public:
  Scribbler(ipc::Channel& channel, ipc::Arena& results, std::uint64_t seed)
      : channel_(channel), results_(results), random_(seed) {}

  // Begins a task in order: nothing of the user's runs before that. Then it scribbles. Returns as
  // a process ends: when it is killed, when it is told to leave, or by itself.
  void live(std::uint64_t scribbles, const std::function<bool()>& is_killed) {
    channel_.current.state.store(static_cast<std::uint32_t>(ipc::WorkerState::ready));
    while (!begin_first()) {
      if (is_killed() || front_is(ipc::TaskKind::stop)) return;
    }
    for (std::uint64_t i = 0; i < scribbles && !is_killed(); ++i) {
      if (one_in(4)) ipc::futex_wait(channel_.task_tail.value, seen_, 200'000);
      seen_ = channel_.task_tail.value.load();
      scribble();
    }
  }

 private:
  static constexpr std::uint64_t kMask = ipc::kRingSlots - 1;
  static constexpr std::size_t kUsedResults = 32 * 1024;

  bool begin_first() {
    ipc::futex_wait(channel_.task_tail.value, head_, 200'000);
    seen_ = channel_.task_tail.value.load();
    while (head_ < seen_ && front_is(ipc::TaskKind::define)) ++head_;
    if (head_ == seen_ || front_is(ipc::TaskKind::stop)) return false;
    ipc::TaskSlot& task = channel_.tasks[head_ & kMask];
    std::uint64_t free = head_ << 2;
    if (!task.claim.compare_exchange_strong(free, head_ << 2 | 1)) {
      // It was taken back. A worker that never says that it has passed over such tasks gets no
      // more of them once its ring is full, and then nothing is scribbled ever again.
      channel_.task_head.value.store(++head_);
      return false;
    }
    channel_.current.task.store(task.task);
    return true;
  }

  bool front_is(ipc::TaskKind kind) const {
    return head_ < seen_ && channel_.tasks[head_ & kMask].kind == kind;
  }

  void scribble() {
    switch (random_() % 14) {
      case 0: put(any_word_of(&channel_, sizeof channel_), nonsense()); break;
      case 1: put(any_word_of(results_.at(0), kUsedResults), nonsense()); break;
      case 2: scribble_run(); break;
      case 3: scribble_counter(); break;
      case 4:
      case 5: scribble_current(); break;
      case 6: put(&channel_.sleep.epoch, nonsense()); break;
      case 7: scribble_claim(); break;
      case 8: scribble_chain(); break;
      case 9: scribble_returns(); break;
      case 10: scribble_list(random_() % (kUsedResults / 64) * 64); break;
      case 11: channel_.result_tail.value.fetch_add(1 + random_() % 3); break;
      default: answer(); break;
    }
  }

  // An answer to the oldest task that it knows of: as it should be, or nearly.
  void answer() {
    if (head_ >= seen_) return;
    ipc::TaskSlot& task = channel_.tasks[head_ & kMask];
    ipc::ResultSlot& slot = channel_.results[tail_ & kMask];
    slot.task = task.task;
    slot.run_ns = random_() % 1'000'000;
    slot.position = head_;
    slot.count = task.count;
    const bool is_chunk = task.kind == ipc::TaskKind::chunk;
    slot.status = is_chunk ? ipc::Status::chunk : ipc::Status::returned;
    slot.format = ipc::Format::tagged;
    slot.where = is_chunk ? ipc::Where::block : ipc::Where::inline_bytes;
    slot.size = static_cast<std::uint32_t>(random_() % (ipc::kInlineBytes + 1));
    if (is_chunk) slot.block = {0, 64 * (1 + random_() % 64)};
    if (!is_chunk && one_in(3)) {
      slot.format = ipc::Format::buffers;
      slot.where = ipc::Where::block;
      slot.block = scribble_list(random_() % 4 * 4096);
    }
    if (one_in(2)) spoil(slot);
    ++head_;  // a define has no answer; answering it is one more nonsense
    if (task.kind == ipc::TaskKind::define && !one_in(16)) return;
    channel_.result_tail.value.store(++tail_);
  }

  void spoil(ipc::ResultSlot& slot) {
    switch (random_() % 8) {
      case 0: slot.task = nonsense(); break;
      case 1: slot.position += nonsense(); break;
      case 2: slot.run_ns = nonsense(); break;
      case 3: slot.size = static_cast<std::uint32_t>(nonsense()); break;
      case 4: slot.count = static_cast<std::uint32_t>(nonsense()); break;
      case 5: slot.status = static_cast<ipc::Status>(random_() % 6); break;
      case 6: slot.where = static_cast<ipc::Where>(random_() % 4); break;
      default:
        slot.where = ipc::Where::block;
        slot.block = {one_in(2) ? nonsense() : nonsense() & ~std::uint64_t{63}, nonsense()};
        break;
    }
  }

  void scribble_counter() {
    ipc::Counter* const counters[] = {&channel_.task_tail,    &channel_.result_head,
                                      &channel_.release_tail, &channel_.task_head,
                                      &channel_.result_tail,  &channel_.release_head,
                                      &channel_.return_head,  &channel_.return_tail};
    std::atomic<std::uint64_t>& word = counters[random_() % std::size(counters)]->value;
    word.store(one_in(2) ? nonsense() : word.load() + random_() % 5 - 2);
  }

  void scribble_current() {
    ipc::Current& current = channel_.current;
    switch (random_() % 6) {
      case 0:  // a task that it was given, which it may have answered or not begun
        current.task.store(channel_.tasks[random_() & kMask].task);
        break;
      case 1: current.task.store(nonsense()); break;
      case 2: current.progress.store(one_in(2) ? random_() % 16 : nonsense()); break;
      case 3:
        current.chain_offset.store(one_in(2) ? 0 : nonsense());
        current.chain_size.store(one_in(2) ? 64 * (1 + random_() % 64) : nonsense());
        break;
      case 4: current.begun_ns.store(nonsense()); break;
      default: current.state.store(static_cast<std::uint32_t>(random_() % 6)); break;
    }
  }

  void scribble_claim() {
    const std::uint64_t position = one_in(2) ? head_ + random_() % 4 : random_();
    channel_.tasks[position & kMask].claim.store(position << 2 | (random_() & 3));
  }

  // Buffers of arguments that it says to have let go of: of its tasks, of others', or none at all.
  void scribble_returns() {
    std::atomic<std::uint64_t>& tail = channel_.return_tail.value;
    for (std::uint64_t left = 1 + random_() % 3; left > 0; --left) {
      const std::uint64_t name = one_in(2) ? random_() % 64 * ipc::kPageBytes : nonsense();
      channel_.returns[tail.load() & (ipc::kReturnSlots - 1)].store(name);
      if (!one_in(4)) tail.fetch_add(1);
    }
  }

  // A list of buffers of results that it has, or has not.
  ipc::BlockRef scribble_list(std::uint64_t offset) {
    const ipc::BufferListHead head{
        static_cast<std::uint32_t>(one_in(8) ? nonsense() : random_() % 4),
        static_cast<std::uint32_t>(random_() % 4),
        static_cast<std::uint32_t>(one_in(8) ? nonsense() : 0)};
    std::memcpy(results_.at(offset), &head, sizeof head);
    for (std::uint32_t i = 0; i != 4; ++i) {
      ipc::BlockRef buffer{random_() % 1024 * ipc::kPageBytes, 1 + random_() % (1 << 18)};
      if (one_in(6)) buffer.offset = nonsense();
      if (one_in(6)) buffer.size = nonsense();
      std::memcpy(results_.at(offset) + sizeof head + i * sizeof buffer, &buffer, sizeof buffer);
    }
    return {offset, sizeof head + 4 * sizeof(ipc::BlockRef) + random_() % 64};
  }

  // Blocks of results that lead to each other, with items of all sizes in them.
  void scribble_chain() {
    for (std::size_t offset = 0; offset < kUsedResults / 4; offset += 64 * (1 + random_() % 4)) {
      const ipc::ChainHeader chain{{64 * (random_() % 64), 64 * (1 + random_() % 64)}};
      std::memcpy(results_.at(offset), &chain, sizeof chain);
      auto* const item = results_.at(offset + sizeof chain);
      *item = std::byte{static_cast<unsigned char>(random_() % 64)};  // a short one
      if (one_in(3)) {
        *item =
            static_cast<std::byte>(one_in(2) ? ipc::ItemMark::next_block : ipc::ItemMark::header);
        const ipc::ItemHeader header{static_cast<std::uint32_t>(random_()), ipc::Format::tagged,
                                     ipc::Status::returned, 0};
        std::memcpy(item + 1, &header, sizeof header);
      }
    }
  }

  void scribble_run() {
    auto* begin = reinterpret_cast<std::byte*>(&channel_) + random_() % sizeof channel_;
    auto* const end = reinterpret_cast<std::byte*>(&channel_ + 1);
    const std::byte filler{static_cast<unsigned char>(random_())};
    const bool constant = one_in(2);
    for (std::size_t left = random_() % 512; left > 0 && begin != end; --left, ++begin) {
      *begin = constant ? filler : std::byte{static_cast<unsigned char>(random_())};
    }
  }

  std::uint64_t nonsense() {
    switch (random_() % 6) {
      case 0: return 0;
      case 1: return ~std::uint64_t{0} - random_() % 4;
      case 2: return random_() % 1024;
      case 3: return results_.size() + random_() % 256 - 128;
      case 4: return std::uint64_t{1} << random_() % 64;
      default: return random_();
    }
  }

  void* any_word_of(void* memory, std::size_t size) {
    return static_cast<std::byte*>(memory) + random_() % (size / 8) * 8;
  }

  static void put(void* where, std::uint64_t word) { std::memcpy(where, &word, sizeof word); }

  bool one_in(std::uint64_t n) { return random_() % n == 0; }

  ipc::Channel& channel_;
  ipc::Arena& results_;
  std::mt19937_64 random_;
  std::uint64_t seen_ = 0;  // of task_tail
  std::uint64_t head_ = 0;  // the next task to answer
  std::uint64_t tail_ = 0;  // the next result
};

}  // namespace owngil::runtime

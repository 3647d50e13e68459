// SPDX-License-Identifier: BSD-3-Clause
// The channel between the supervisor and one worker: four rings and the words beside them.
//
// Threads: a SupervisorEnd is used under the supervisor's mutex, a WorkerEnd by the worker's
//   loop alone.  Processes: layout.hpp names the writer of every word.
// Lifetime: the ends borrow the mapping; whoever mapped it keeps it until the end is gone.
// Not: a judge. It moves slots; what a worker wrote into one is checked by who reads it.
// Invariants:
//   C1  A slot is written before its tail is published, and read only after it.
//   C2  A task belongs to whoever moved `claim` away from free, and to one side only.
//   C3  The store of result_tail is the commit point of a result.
//   C4  `current.task` is stored before a task is decoded ("begun"), and is never cleared.
//   C5  A worker that sleeps has published an odd epoch and looked once more at task_tail, and
//       sleeps on task_tail itself: a task published after that look ends the sleep or prevents
//       it, however late the wake-up call comes or however early.
//   C6  Whoever the bell names sleeps on an eventfd: a ring before its sleep is not lost.
//   C7  Between two items of a timed chunk the worker clears `begun_ns`, counts the item that it
//       has completed, and then looks at `stop_task`, with a full fence between; the supervisor
//       gives the order, and then looks at both. So either the worker begins no further item, or
//       the supervisor sees how far it had come when it did.
#pragma once

#include "ipc/layout.hpp"
#include "ipc/memfd.hpp"
#include "ipc/spin_budget.hpp"
#include "ipc/spsc_ring.hpp"

#include <atomic>
#include <cstdint>
#include <optional>

namespace owngil::ipc {

// What a worker says of itself; read after its death as well as during its life. While it lives,
// `begun_ns` may already belong to the task after `task`, which is committed then.
struct CurrentView {
  std::uint64_t task;
  std::uint64_t progress;
  BlockRef chain;
  std::uint64_t begun_ns;
  WorkerState state;
  bool blame;  // it was about to end its process, by its own account
};

// The newest dump of its Python stacks that the worker has made; its text is behind the channel.
struct StackDumpView {
  std::uint64_t task;
  std::uint32_t number;  // 0: there is none
  std::uint32_t signal;  // 0: it was asked
  std::uint32_t size;    // of the text; at most kStackTextBytes
};

class SupervisorEnd {
 public:
  explicit SupervisorEnd(Channel& channel);  // takes up a channel that is all zeros but its header
  SupervisorEnd(SupervisorEnd&&) noexcept = default;
  SupervisorEnd& operator=(SupervisorEnd&&) noexcept = default;
  SupervisorEnd(const SupervisorEnd&) = delete;  // one producer of tasks, one consumer of results
  SupervisorEnd& operator=(const SupervisorEnd&) = delete;
  ~SupervisorEnd() = default;

  // --- task ring: reserve, fill in all but `claim`, publish
  [[nodiscard]] TaskSlot* try_reserve_task() noexcept;     // nullptr: full
  std::uint64_t publish_task() noexcept;                   // returns the position; does not wake
  [[nodiscard]] std::uint64_t task_room() const noexcept;  // free slots, as the worker says now
  // False: the worker has claimed it.
  [[nodiscard]] bool try_take_back(std::uint64_t position) noexcept;
  // What the claim of this position says; nothing: nonsense.
  [[nodiscard]] std::optional<ClaimState> claim_of(std::uint64_t position) const noexcept;
  // A hint: the worker has begun the task at this position or soon will.
  [[nodiscard]] bool is_claimed(std::uint64_t position) const noexcept;

  // Wakes the worker if it sleeps. Call after publish_task, once for many if you like. Returns
  // whether it made a system call.
  bool wake_if_asleep() noexcept;
  void wake() noexcept;  // whatever the worker says
  [[nodiscard]] bool is_asleep() const noexcept;

  // --- result ring
  // nullptr: none. The slot is the worker's: copy, then check. A worker that lies about its tail
  // makes this return a slot with old bytes; the slot's `position` and `task` tell.
  [[nodiscard]] const ResultSlot* front_result() noexcept;
  void pop_result() noexcept;
  [[nodiscard]] std::uint64_t result_position() const noexcept;  // of the next to be popped

  // Asks to be notified from the time that `position` results have been published, ~0 for never;
  // false if that many are published already (the caller then collects, nobody will ring).
  bool set_notify_at(std::uint64_t position) noexcept;
  void set_spin_ns(std::uint64_t spin_ns) noexcept;
  // The task that is to stop. What current() says afterwards is how far it may have come (C7).
  void order_stop(std::uint64_t task) noexcept;

  [[nodiscard]] bool try_push_release(std::uint64_t offset) noexcept;  // false: full, try later
  // A buffer of arguments that the worker has let go of, as it says.
  [[nodiscard]] std::optional<std::uint64_t> pop_return() noexcept;

  [[nodiscard]] CurrentView current() const noexcept;
  [[nodiscard]] StackDumpView stack_dump() const noexcept;

 private:
  // immutable after construction
  Channel* channel_;
  // The supervisor's mutex guards the rest. Own copies of the words that this side writes; they
  // are never read back from shared memory.
  RingProducer<TaskSlot, kRingSlots> tasks_;
  RingConsumer<const ResultSlot, kRingSlots> results_;
  RingProducer<std::atomic<std::uint64_t>, kReleaseSlots> releases_;
  RingConsumer<const std::atomic<std::uint64_t>, kReturnSlots> returns_;
  std::uint64_t notify_at_ = ~std::uint64_t{0};
  std::uint64_t spin_ns_ = 0;
  std::uint32_t woken_epoch_ = 0;
};

class WorkerEnd {
 public:
  WorkerEnd(Channel& channel, const Board& board, int caller_bell_fd, int control_bell_fd);
  WorkerEnd(const WorkerEnd&) = delete;
  WorkerEnd& operator=(const WorkerEnd&) = delete;
  ~WorkerEnd() = default;

  // --- task ring
  [[nodiscard]] const TaskSlot* front_task() noexcept;         // nullptr: none yet
  [[nodiscard]] std::uint64_t task_position() const noexcept;  // of the front task
  [[nodiscard]] bool try_claim() noexcept;  // the front task; false: it was taken back
  void pop_task() noexcept;                 // the slot may be overwritten from now on

  // Return whether a task is there. The first spins as long as it was granted and experience
  // recommends, the second sleeps until a task comes, `limit_ns` (kForever of futex.hpp: no limit)
  // has passed, or a signal arrives. They are apart so that the caller can give up its GIL between.
  bool spin_for_task() noexcept;
  bool sleep_for_task(std::uint64_t limit_ns) noexcept;

  // --- result ring: reserve, fill in, publish; rings the bell if it was asked to
  [[nodiscard]] ResultSlot& reserve_result() noexcept;  // never full: I5
  void publish_result() noexcept;
  // Rings the control thread, whoever the bell names: for what nobody else must be waited for.
  void ring_control() noexcept;

  // Whether it has its bells; a task may have closed every descriptor that it found, and what was
  // opened next may have their numbers.
  [[nodiscard]] bool can_ring() const noexcept;
  // Rings nobody from now on, and writes to no descriptor.
  void give_up_bells() noexcept { caller_bell_fd_ = control_bell_fd_ = -1; }

  [[nodiscard]] std::optional<std::uint64_t> pop_release() noexcept;
  [[nodiscard]] bool try_push_return(std::uint64_t buffer) noexcept;  // false: full, try later

  void set_state(WorkerState state, std::uint32_t pid) noexcept;
  void begin(std::uint64_t task, std::uint64_t now_ns) noexcept;  // C4; resets progress and chain
  void set_chain(BlockRef first) noexcept;
  void set_progress(std::uint64_t items) noexcept;

  // --- of a timed chunk: around each item, before set_progress counts it
  void begin_item(std::uint64_t now_ns) noexcept;
  void end_item() noexcept;
  // May the next item begin? Call after set_progress.
  [[nodiscard]] bool is_stop_ordered_after_item(std::uint64_t task) const noexcept;
  // A hint, cheap enough for every item: it may come late.
  [[nodiscard]] bool is_stop_ordered(std::uint64_t task) const noexcept;

 private:
  [[nodiscard]] bool spin_within_budget() noexcept;
  void ring() noexcept;

  // immutable after construction, but for bells that are given up
  Channel& channel_;
  const Board& board_;
  int caller_bell_fd_;
  int control_bell_fd_;
  const FileId caller_bell_;
  const FileId control_bell_;
  // the worker's loop: own copies of the words that this side writes
  RingConsumer<TaskSlot, kRingSlots> tasks_;
  RingProducer<ResultSlot, kRingSlots> results_;
  RingConsumer<const std::atomic<std::uint64_t>, kReleaseSlots> releases_;
  RingProducer<std::atomic<std::uint64_t>, kReturnSlots> returns_;
  std::uint32_t epoch_ = 0;
  SpinBudget spin_;
};

// The bell of one pool, as its owner sees it. Guarded by the supervisor's mutex.
// Workers ring by writing to the eventfd of whoever it names: a futex word would have to be
// written by them too, or a ring between the sleeper's last look and its sleep would be lost.
class BellOwner {
 public:
  explicit BellOwner(Board& board);
  void set(Bell who) noexcept;  // a full fence follows: look at the rings after it
  [[nodiscard]] Bell who() const noexcept { return who_; }

 private:
  Board* board_;
  Bell who_ = Bell::nobody;
};

}  // namespace owngil::ipc

#include "ipc/channel_inline.hpp"

// SPDX-License-Identifier: BSD-3-Clause
// One worker as the supervisor sees it: its channel, and in private memory what it was given.
//
// Threads: guarded by the supervisor's mutex.
// Lifetime: from the launch until the process is gone; the next worker of the rank gets a new one.
// Not: a process. The launcher starts and kills it, by `key`.
// Invariants:
//   L1  in_flight holds the tasks of positions [oldest, next); null where there is none to be
//       answered (a blob, a stop, a task that was taken back).
//   L2  Answers come in the order of the positions: the next is that of the oldest task.
#pragma once

#include "ipc/arena.hpp"
#include "ipc/channel.hpp"
#include "ipc/mapping.hpp"
#include "runtime/block_holds.hpp"
#include "runtime/result_arena.hpp"
#include "runtime/scheduler.hpp"
#include "runtime/task.hpp"

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace owngil::runtime {

enum class LinkState : std::uint8_t {
  launching,  // asked for
  running,    // its process exists
  leaving,    // it was told to stop
  doomed,     // it was killed by the pool; no answer is read from it any more
  absent,     // of a snapshot only: the seat is empty
};

// Why a worker gets no more tasks. It leaves as soon as it has answered what it has.
enum class Dismissal : std::uint8_t {
  none,
  tasks,    // it was given as many as it may have
  memory,   // it said that it has too much; it leaves by itself
  idle,     // it had nothing to do for too long
  resized,  // the pool became smaller
};

// The one task that is to end though its worker runs it, and what happens to the worker.
struct Sentence {
  Task* task = nullptr;          // nullptr: none
  std::uint64_t kill_at_ns = 0;  // unless it has answered by then
  std::uint64_t signal_at_ns = 0;
  std::uint64_t signal_gap_ns = 0;  // 0: no signals
  std::uint64_t asked_at_ns = 0;    // where it is; 0: it was not
};

class WorkerLink {
 public:
  // Makes the shared memory. Throws std::system_error.
  WorkerLink(Rank rank, Lanes lanes, std::uint64_t key, std::uint64_t generation,
             std::size_t results_size, std::uint64_t memory_limit);
  ~WorkerLink();
  WorkerLink(const WorkerLink&) = delete;
  WorkerLink& operator=(const WorkerLink&) = delete;

  // --- task ring
  bool has_room(std::uint64_t messages);
  ipc::TaskSlot& reserve() { return *end_.try_reserve_task(); }  // Requires: has_room
  void publish(Task* answered_by);  // the reserved slot; nullptr: there will be no answer
  // The oldest task that the worker has not claimed, taken out of its ring; nullptr: none.
  // The oldest of all is the one that the worker will run next, or runs: it can be spared.
  enum class Spare { nothing, oldest };
  Task* take_back_any(Spare spare);
  bool take_back(Task& task);

  // --- results
  Task* oldest();      // the task that the next answer must be for; nullptr: none
  Task& pop_oldest();  // Requires: oldest() != nullptr
  std::uint64_t answers_until(const Task& task) const;  // how many, up to and with its own
  // Every task that was not answered, oldest first; the link is empty afterwards.
  std::vector<Task*> take_all();
  // What the worker was at when it died, as far as its words can be believed: who ran there could
  // write over them. If they cannot be true, the oldest task is to blame, and broke_protocol set.
  // The same however often it is asked. Requires: what it has answered is collected.
  ipc::CurrentView last_words();
  // For how long the worker has run what it says it is at; 0: nothing that can be told, or true.
  std::uint64_t ran_ns(const ipc::CurrentView& current, std::uint64_t now_ns) const noexcept;
  void release(std::uint64_t offset);  // gives a block back, now or when there is room

  // --- buffers
  // Where the buffers of results lie. Throws std::system_error.
  ResultArena& result_arena();
  // To whoever waits for the worker's process to be gone; nullptr: there is none.
  ResultArena* give_away_result_arena();
  // The worker gets back what the user has let go of.
  void give_back_buffers();

  // --- Python stacks, as faulthandler writes them; what the worker wrote, so any bytes
  // The one that it left when that signal (nothing: nobody knows how) ended it in that task;
  // empty: none.
  std::string last_stack(std::uint64_t task, std::optional<std::uint32_t> signal) const;
  // Call before the launcher asks it for its stack.
  void expect_stack() { stacks_before_ = end_.stack_dump().number; }
  // Nothing: it has not answered yet. Empty: it is not in that task.
  std::optional<std::string> answered_stack(std::uint64_t task) const;

  bool is_recycled() const {
    return dismissal == Dismissal::tasks || dismissal == Dismissal::memory;
  }
  bool knows(std::uint32_t blob) const { return blob < blobs_.size() && blobs_[blob]; }
  void set_known(std::uint32_t blob, bool known);

  ipc::SupervisorEnd& end() { return end_; }
  const ipc::SupervisorEnd& end() const { return end_; }
  // The bytes of a block of results; nullptr: there is no such block.
  const std::byte* result_block(ipc::BlockRef block) const;
  // Whether results of so many bytes together can be there at all. The arena's size is address
  // space: to copy as much as a scribble asks for could take all memory that there is.
  bool can_hold(std::uint64_t results_size) const;
  int channel_fd() const { return channel_fd_.get(); }
  int results_fd() const { return results_fd_.get(); }

  // immutable after construction
  const Rank rank;
  const Lane lane;  // which the user sees as its rank
  const Choice choice;
  const bool may_refuse;  // there are others to fall back to
  const std::uint64_t key;
  const std::uint64_t generation;
  const std::uint64_t launched_ns;
  // what the supervisor keeps beside
  LinkState state = LinkState::launching;
  Dismissal dismissal = Dismissal::none;
  bool initializing = false;                      // its initializer has not answered
  std::optional<std::vector<std::byte>> failure;  // its initializer's; it is about to leave
  pid_t pid = 0;
  std::uint32_t outstanding = 0;
  std::uint32_t watched = 0;   // tasks outstanding whose completion somebody waits for
  std::uint64_t assigned = 0;  // tasks since its start
  std::uint64_t ended_ns = 0;  // when its last answer was made, as it says; 0: none yet
  // of the tasks outstanding that have a time limit
  std::uint32_t timed = 0;
  std::uint64_t shortest_limit_ns = ~std::uint64_t{0};
  Sentence sentence;
  std::uint64_t ordered_stop = 0;  // the task that was told to stop last
  bool broke_protocol = false;
  bool killed_for_task = false;    // the pool did, for what a task did to it or would not end
  std::vector<Task*> after_death;  // to be queued again once the process is gone
  std::vector<std::uint32_t> to_forget;
  bool is_busy = false;  // among the supervisor's busy links
  BlockHolds buffers;    // of arguments that its worker may look at

 private:
  static constexpr std::uint64_t kMask = ipc::kRingSlots - 1;

  std::string read_stack(const ipc::StackDumpView& dump) const;
  bool may_not_have_begun(Task& task, const ipc::CurrentView& words);

  ipc::UniqueFd channel_fd_;
  ipc::Mapping channel_memory_;
  ipc::UniqueFd results_fd_;
  ipc::ArenaView results_;
  ResultArena* result_arena_ = nullptr;  // once a result has had buffers
  ipc::SupervisorEnd end_;
  std::array<Task*, ipc::kRingSlots> in_flight_{};
  std::uint64_t oldest_ = 0;
  std::uint64_t next_ = 0;
  std::uint64_t worked_off_ = 0;     // what lies before was popped by the worker for certain
  std::uint32_t stacks_before_ = 0;  // when it was asked for another one
  std::uint64_t last_answered_ = 0;  // id of a task; 0: none
  std::optional<ipc::CurrentView> last_words_;
  std::vector<bool> blobs_;
  std::vector<std::uint64_t> unreleased_;
};

}  // namespace owngil::runtime

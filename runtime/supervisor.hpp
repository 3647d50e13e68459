// SPDX-License-Identifier: BSD-3-Clause
// One pool: the only place that decides. Tasks go in, outcomes come out, as bytes.
//
// Threads: every method may be called from any thread, with or without the GIL, which is never
//   taken here; on_* are for the control thread. One mutex guards everything.
// Lifetime: counted. The user's pool, each of its futures and iterators, and the runtime until
//   the pool has ended, hold it by retain() and release().
// Not: Python. Not: processes, which a Launcher starts and ends.
// Invariants: I3, I5, I6, I8 of ARCHITECTURE.md, and
//   V1  A thread that waits is in `waiters_`; at most one of them is the collector.
//   V2  While somebody must be served and no caller collects, the bell names control.
//   V3  A task is in exactly one of: the backlog, one link's in_flight, at rest (the agenda or a
//       dying link's after_death), complete.
//   V4  `alarm_ns_` is no later than any limit can pass of what runs, waits or rests.
#pragma once

#include "ipc/arena.hpp"
#include "ipc/channel.hpp"
#include "ipc/futex.hpp"
#include "ipc/mapping.hpp"
#include "runtime/blob_table.hpp"
#include "runtime/lanes.hpp"
#include "runtime/launcher.hpp"
#include "runtime/map_job.hpp"
#include "runtime/restart_intensity.hpp"
#include "runtime/scheduler.hpp"
#include "runtime/shared_block.hpp"
#include "runtime/spare_memory.hpp"
#include "runtime/task.hpp"
#include "runtime/worker_link.hpp"

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace owngil::runtime {

// More workers than this lost within the window, with no task to blame, break the pool.
struct RestartLimit {
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  std::uint64_t losses = 0;         // so many in all; kNone: there is no limit
  std::uint64_t for_each_seat = 4;  // and so many for each worker that the pool is to have
  std::uint64_t window_ns = 10'000'000'000;
  // After the second loss in a row that comes to nothing a seat stays empty for so long; after the
  // next for twice as long, and so on up to a second.
  std::uint64_t retry_ns = 50'000'000;
};

struct SupervisorOptions {
  std::uint32_t workers = 1;
  bool has_fallback = false;                // the launcher has two kinds of workers: see Lanes
  std::uint32_t cpus = 1;                   // usable by this process
  std::uint64_t max_tasks_per_worker = 0;   // 0: no limit
  std::uint64_t max_memory_per_worker = 0;  // private bytes; 0: no limit
  std::uint64_t idle_timeout_ns = 0;        // a worker that is idle for so long leaves; 0: never
  RestartLimit restarts = {};
  // Granted to a worker that may spin for its next task, and what a caller spins before it sleeps.
  // The caller's covers the time that it takes to wake a worker (40-80 us on virtual machines):
  // were it shorter, both would sleep by turns, each just missing the other.
  std::uint64_t spin_ns = 100'000;
  std::uint64_t caller_spin_ns = 200'000;
  std::size_t arena_size = std::size_t{1} << 36;  // address space of each arena
  // So many bytes may calls that are not complete have in shared memory, small ones aside, and as
  // many half as much unread results of a map.
  std::uint64_t arena_limit = std::uint64_t{1} << 36;
  SchedulerTuning tuning = {};
};

// What a caller wants to have called.
struct Call {
  std::uint32_t function;
  std::uint32_t context;
  ipc::Format format;
  std::span<const std::byte> payload;
};

// What cancel() does with a task that has begun.
enum class Running : std::uint8_t { spare, stop };

enum class Admission : std::uint8_t { admitted, closed, broken, no_memory };
enum class WaitEnd : std::uint8_t { ready, timeout, signal };

// What came of waiting for room: perhaps there is some now; nothing that runs will make any, or
// none can ever be made; a signal came.
enum class Room : std::uint8_t { perhaps, none, never, signal };

struct WorkerSnapshot {
  Lane lane;
  Choice choice;
  pid_t pid;  // 0: not started yet
  LinkState state;
  std::uint32_t outstanding;  // tasks that it was given and has not answered
  std::uint64_t tasks_done;
  std::uint64_t busy_ns;
  std::uint64_t idle_ns;  // since when it has had nothing to do; 0: it has
};

struct Snapshot {
  // By lane, as many as the pool is to have; of the fallback only those that were ever started.
  std::vector<WorkerSnapshot> workers;
  std::uint64_t pending;
  std::uint64_t running;
  std::uint64_t restarts;  // of workers that died, or could not be started
  std::uint64_t recycled;  // workers that left because they had run enough, or held too much
  std::uint64_t leaving;   // workers that have no seat any more, and are not gone yet
};

// Who has the shared memory of arguments.
struct Holdings {
  struct Worker {
    Lane lane;
    pid_t pid;
    std::uint64_t bytes;  // that it may look at
  };

  std::uint64_t limit;
  std::uint64_t in_use;
  std::vector<Worker> workers;  // those that may look at some
};

// A worker that was lost with no task to blame.
struct Loss {
  Failure failure;  // pid 0: there never was a process
  bool came_up;
  std::string reason;  // why there was no process
};

class Supervisor {
 public:
  Supervisor(SupervisorOptions options, std::unique_ptr<Launcher> launcher);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  void retain() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept;

  // Starts the workers. `initializer` is called in each before anything else; its blobs must
  // have been added. Throws std::system_error; then the pool has not started.
  void start(const Call* initializer);

  // --- blobs. 0: no memory. `name`: of a function, for whoever reads that it has failed.
  std::uint32_t add_blob(std::span<const std::byte> bytes, std::string name = {});
  void drop_blob(std::uint32_t number);
  // With a fallback: why a function runs there; nothing: it does not, as far as is known.
  std::optional<Unfitness> unfitness(std::uint32_t function);
  // It runs in the fallback for the reason that holds for another one.
  void share_unfitness(std::uint32_t function, std::uint32_t with);

  // --- buffers of a call's arguments, filled by the caller; nothing: no memory, or as much in use
  // as may be (see wait_for_room). The caller has it
  // until it drops it, or until a task is admitted or an item added that names it in its list.
  std::optional<ipc::BlockRef> new_buffer(std::uint64_t size);
  std::byte* buffer_at(ipc::BlockRef buffer) const { return arguments_.at(buffer.offset); }
  void drop_buffer(ipc::BlockRef buffer);
  // The same for shared memory, which is only counted here.
  ipc::BlockRef hold_shared(SharedBlock& block);
  // Waits until there may be room for so many bytes, while something in flight can make it.
  Room wait_for_room(std::uint64_t size);
  // Whether half of what may be in use is: a map that has something to be read takes no more then.
  bool is_filling();
  Holdings holdings();

  // --- calls. The caller owns a handle to the task until it calls forget().
  Admission submit(const Call& call, Task*& task, const Policy* policy = nullptr);
  void forget(Task& task);
  bool poll(Task& task);  // collects what is ready; is it complete?
  bool is_running(Task& task);
  // True: it will be complete as cancelled, and is if it had not begun. One that has begun is told
  // to stop, if it may be, and its worker is killed if it has not after the grace (default: the
  // policy's).
  bool cancel(Task& task, Running running, std::optional<std::uint64_t> grace_ns = {});
  // Waits until the task is complete. `budget_ns`: only spin, for so long at most, and only if a
  // CPU is free for it; else spin a little, then sleep until `deadline_ns` (~0: for ever).
  bool spin(Task& task, std::uint64_t budget_ns);
  WaitEnd wait(Task& task, std::uint64_t deadline_ns);

  // --- completions for the dispatcher. False: it is complete already, and will not be queued.
  bool watch(Task& task, void* watcher);
  // Blocks until there are some (appended) or close_completions() was called (false).
  bool next_completions(std::vector<void*>& watchers);
  void close_completions();

  // --- map. The items are appended to job.items by the caller, by `add_items` alone.
  MapJob* open_map(std::uint32_t function, std::uint32_t context, std::uint32_t chunk_size,
                   const Policy* policy = nullptr);
  // `has_buffers`: some of them name buffers.
  Admission add_items(MapJob& job, std::span<const std::byte> items, std::uint64_t count,
                      bool has_buffers = false);
  // The first segment, complete; nullptr: not yet (see the two below), or no items are left.
  Segment* ready_segment(MapJob& job);
  bool spin(MapJob& job, std::uint64_t budget_ns);
  WaitEnd wait(MapJob& job, std::uint64_t deadline_ns);
  void consume_segment(MapJob& job);
  void close_map(MapJob& job);  // cancels what has not begun, and more if its policy says so

  // From now on so many workers. More are started before it returns; of those that are too many,
  // the highest ranks leave when they are idle or have ended their present task. After the pool
  // was closed: says so. Throws std::system_error; then the pool is as it was.
  Admission resize(std::uint32_t workers);

  // --- the end
  void shutdown(bool cancel_waiting);
  // Sends SIGTERM or SIGKILL to each worker, and replaces none; what no worker has begun is
  // cancelled, what dies with its worker has died.
  void end_workers(int number);
  WaitEnd wait_ended(std::uint64_t deadline_ns);
  bool is_broken() const { return broken_.load(std::memory_order_acquire); }
  // Why; a failure's bytes, or text. Requires: is_broken().
  const std::vector<std::byte>& broken_failure() const { return broken_failure_; }
  const std::string& broken_reason() const { return broken_reason_; }
  // The deaths that broke it, the latest last; empty: it was another reason.
  const std::deque<Loss>& broken_by() const { return broken_by_; }

  Snapshot snapshot();

  // --- for the control thread
  int control_bell() const { return control_bell_.get(); }
  void on_control_bell();
  void on_timer();
  void on_started(std::uint64_t key, pid_t pid);
  void on_exited(std::uint64_t key, pid_t pid, const WorkerExit& exit);
  void on_failed(std::uint64_t key, const std::string& reason, bool with_others = false);

 private:
  struct Waiter;
  // A place for a worker, by rank, which stays when the worker is replaced.
  struct Seat {
    std::uint64_t tasks_done = 0;
    std::uint64_t busy_ns = 0;
    std::uint64_t launches = 0;
    std::uint64_t due_ns = 0;     // not to be filled before
    std::uint32_t fruitless = 0;  // workers in a row that were lost before their first answer
    bool wanted = false;          // empty, and to be filled even if there is no work for it
  };
  // A worker that has no seat any more, and nothing to answer: only its end is still to be told.
  struct Leaver {
    std::uint64_t key;
    std::uint64_t told_ns;
    BlockHolds buffers;    // that its threads may look at still
    ResultArena* results;  // nullptr: there is none
  };
  // When a limit passes, and of which item of a chunk.
  struct Limit {
    std::uint64_t when_ns;
    std::uint32_t item;
  };
  // What a worker has in the death of its process.
  struct Share {
    Collateral collateral;
    bool had_neighbours;
  };
  using Lock = std::unique_lock<std::mutex>;

  // submit side (supervisor_send.cpp)
  void dispatch();
  bool is_held_up(const Task& task) const;
  Choice choice_for(const Task& task) const;
  Task* next_to_send() const;
  bool send(Task& task, Rank rank);
  std::optional<Rank> assign_to_idle(Choice choice);
  bool send_to_idle(Task& task, Rank full);
  std::uint64_t running_ns(Rank rank, std::uint64_t now);
  void send_blob(WorkerLink& link, std::uint32_t number);
  void send_forgets(WorkerLink& link);
  void send_initializer(WorkerLink& link);
  void move_queued();
  bool move_queued(Choice choice, std::uint64_t now);
  void apply_grants();
  void stop_link(WorkerLink& link);
  void touch_busy(WorkerLink& link);
  void took_back(WorkerLink& link, Task& task);
  void took_out(WorkerLink& link, Task& task);
  void note_limit(WorkerLink& link, Task& task, const Policy& policy);

  // result side (supervisor_collect.cpp)
  void collect();
  void collect_from(WorkerLink& link);
  bool accept(WorkerLink& link, const ipc::ResultSlot& slot);
  void left(WorkerLink& link, const Task& task);
  bool accept_sentenced(WorkerLink& link, const ipc::ResultSlot& slot, Task& task);
  bool accept_part(WorkerLink& link, const ipc::ResultSlot& slot, Segment& segment);
  bool accept_refused(WorkerLink& link, const ipc::ResultSlot& slot, Task& task);
  static bool is_unfit(const WorkerLink& link, const ipc::ResultSlot& slot);
  bool learn_unfitness(WorkerLink& link, const ipc::ResultSlot& slot, const Task& task);
  static Unfitness unfitness_in(const HeapBytes& items, std::uint32_t count);
  void set_unfit(std::uint32_t function, Unfitness why);
  void use_fallback();
  static bool is_part(const WorkerLink& link, const ipc::ResultSlot& slot, const Segment& segment);
  bool end_by_nonsense(WorkerLink& link, Task& task);
  static std::optional<std::span<const std::byte>> payload_of(const WorkerLink& link,
                                                              const ipc::ResultSlot& slot);
  bool drop_payload(WorkerLink& link, const ipc::ResultSlot& slot);
  bool take_payload(WorkerLink& link, const ipc::ResultSlot& slot, Task& task);
  std::optional<Ending> take_outcome(WorkerLink& link, const ipc::ResultSlot& slot, Task& task);
  bool accept_initializer(WorkerLink& link, const ipc::ResultSlot& slot);
  bool take_chain(WorkerLink& link, ipc::BlockRef head, std::uint64_t count, HeapBytes& items);
  void make_rogue(WorkerLink& link);
  void complete(Task& task, Ending ending);
  void drop_blob_use(std::uint32_t number);
  void free_payload(Task& task);
  void free_items(Segment& segment);
  void fail(Task& task, Failure failure);
  void name(const Task& task, Failure& failure) const;
  void finish_segment(Segment& segment);
  void finish_job(MapJob& job);
  void reuse(Task& task);

  // large buffers (supervisor_buffers.cpp)
  std::optional<ipc::BlockRef> allocate(std::uint64_t size);
  void take_all_returns();
  void give_spare_back(std::uint64_t now);
  bool is_unread_enough(const MapJob& job) const;
  template <class Visit>
  void each_buffer(const Task& task, Visit&& visit);
  template <class Visit>
  void each_buffer_of_items(const Segment& segment, Visit&& visit);
  void hold_buffers(WorkerLink& link, const Task& task);
  void unhold_buffers(WorkerLink& link, const Task& task);
  void drop_held(BlockHolds& buffers);
  void bury_leaver(Leaver& leaver);
  bool take_returns(WorkerLink& link);
  void drop_one(std::uint64_t offset);
  void drop_argument_buffers(const Task& task);
  void drop_buffers_of_items(const Segment& segment);
  bool take_buffers(WorkerLink& link, HeapBytes& bytes);
  bool take_item_buffers(WorkerLink& link, HeapBytes& items);
  static void let_go_of_list(const HeapBytes& bytes);
  static void let_go_of_items(const HeapBytes& items, std::uint64_t from);
  static void free_heap(Task& task);

  // waiting (supervisor_wait.cpp)
  template <class Ready>
  bool spin_until(Ready&& ready, std::uint64_t budget_ns);
  template <class Ready>
  WaitEnd wait_until(Ready&& ready, Waiter& self, std::uint64_t deadline_ns);
  bool sleep(Lock& lock, Waiter& self, std::uint64_t deadline_ns);
  bool sleep_as_collector(Lock& lock, std::uint64_t limit_ns);
  void wake(Waiter& waiter);
  void wake_waiters_of(const Task& task);
  void wake_for_room();
  void leave(Waiter& self);
  void wake_all();
  bool needs_service() const;
  bool arm(ipc::Bell who);
  void settle();
  void wake_workers();
  bool is_recheck_due() const;
  std::uint64_t notify_position(WorkerLink& link) const;

  // limits, and the end of tasks that run (supervisor_limits.cpp)
  static const Policy* policy_of(const Task& task);
  static Terms& terms_of(Task& task);
  void wake_at(std::uint64_t when_ns);
  std::uint64_t watch(WorkerLink& link, std::uint64_t now);
  bool waits_for_stack(WorkerLink& link, std::uint64_t now);
  std::optional<Limit> passes_at(WorkerLink& link, const Task& task, std::uint64_t timeout_ns);
  void time_out(WorkerLink& link, Task& task, const Policy& policy, std::uint32_t item);
  void sentence(WorkerLink& link, Task& task, Ending verdict, std::uint64_t grace_ns);
  void doom(WorkerLink& link);
  static Failure failure_of(const WorkerLink& link);
  void spare_unbegun(WorkerLink& link);
  void expire(Task& task);
  void expire(MapJob& job);
  void end_unbegun(Task& task, std::uint64_t limit_ns);
  void withdraw(Task& task);

  // what had begun: its end, or another run (supervisor_retry.cpp)
  bool may_run_again(const Task& task, Collateral collateral = Collateral::no) const;
  std::uint32_t judge_of(const Task& task) const;
  void end_begun(Task& task, Failure failure, WorkerLink* until_gone);
  void tell_limit(const Task& task, Failure& failure) const;
  bool rest_raised(WorkerLink& link, const ipc::ResultSlot& slot, Task& task);
  void rest(Task& task, Attempt attempt, WorkerLink* until_gone);
  void end_rest(Task& task);
  void end_resting(Ending ending);
  void part_segment(WorkerLink& link, Segment& segment, const ipc::CurrentView& current,
                    const Failure& failure, WorkerLink* until_gone);
  void part_at(Segment& segment, std::uint32_t done, HeapBytes items, const Failure* failure,
               WorkerLink* until_gone, bool unfit = false);
  void leave_unbegun(Segment& segment);
  void complete_done(Segment& segment, bool unfit = false);
  // seats (supervisor_seats.cpp)
  void launch(Rank rank);
  void fill_seats();
  std::uint64_t waiting_for(Choice choice) const;
  bool is_worth_starting(Choice choice);
  bool may_start(Rank rank);
  Rank ranks() const { return lanes_.ranks(target_); }
  void vacate(Rank rank, bool refill);
  void count_vacant();
  void set_target(std::uint32_t workers);
  void dismiss(WorkerLink& link, Dismissal why);
  void readmit(WorkerLink& link);
  void let_go(WorkerLink& link);
  static bool may_be_let_go(const WorkerLink& link);
  bool forget_leaver(std::uint64_t key);
  void dismiss_idle(std::uint64_t now);
  std::uint64_t idle_since(const WorkerLink& link, std::uint64_t now) const;
  void lose(Rank rank, Loss loss, bool has_answered);

  // life and death (supervisor_life.cpp)
  WorkerLink* find(std::uint64_t key);
  void end_link(WorkerLink& link, Loss loss, bool has_culprit);
  std::vector<WorkerLink*> those_in(pid_t pid);
  bool was_ended_by_a_task(pid_t pid) const;
  bool shares_process(const WorkerLink& link);
  void end_exited(WorkerLink& link, const WorkerExit& exit, Share share, bool has_culprit);
  static bool is_task_to_blame(WorkerLink& link);
  void bury(WorkerLink& link, const Failure& failure);
  void break_pool(std::vector<std::byte> failure, std::string reason);
  void fail_everything();
  void empty_backlog(Ending ending);
  void cancel_all_that_waits();
  void maybe_stop();
  void maybe_ended();

  // immutable after construction
  const SupervisorOptions options_;
  const Lanes lanes_;
  std::unique_ptr<Launcher> launcher_;
  ipc::UniqueFd board_fd_;
  ipc::Mapping board_memory_;
  ipc::UniqueFd caller_bell_;
  ipc::UniqueFd control_bell_;
  // atomic
  std::atomic<std::uint64_t> owners_{1};
  std::atomic<bool> broken_{false};
  // guarded by mutex_
  std::mutex mutex_;
  ipc::Arena arguments_;
  ipc::UniqueFd arguments_reader_;  // what workers get of it
  SpareMemory spare_;
  BlockHolds buffers_;  // in it: the large ones, by tasks and by links
  std::unordered_map<std::uint64_t, SharedBlock*> shared_;  // by name, if counted among them
  ipc::BellOwner bell_;
  BlobTable blobs_;
  std::optional<Unfitness> all_unfit_;  // the initializer is: why nothing runs in the first choice
  bool uses_fallback_ = false;          // something runs there
  Scheduler scheduler_;
  TaskStore store_;
  TaskQueue backlog_;
  Agenda agenda_;
  Lane target_;                                     // so many lanes the pool is to have
  std::vector<std::unique_ptr<WorkerLink>> links_;  // by rank; null: none. Never fewer than ranks()
  std::vector<Seat> seats_;                         // by rank, as many
  std::uint32_t present_ = 0;                       // links that are not null
  std::uint32_t vacant_ = 0;       // of the first ranks(), and only if uses_fallback_
                                   // those of the fallback: those that are null
  std::uint32_t wanted_ = 0;       // of these, those that are to be filled
  std::deque<Leaver> leavers_;     // who was told first comes first
  std::vector<WorkerLink*> busy_;  // with something to be answered
  std::uint64_t last_id_ = 0;
  std::uint64_t pending_ = 0;  // calls and maps that are not complete
  std::uint64_t watched_ = 0;  // tasks that are watched and not complete
  std::uint64_t restarts_ = 0;
  std::uint64_t recycled_ = 0;
  std::uint64_t resizes_ = 0;
  std::uint64_t answered_by_ = 0;  // key of whom an answer or the end is dealt with
  bool printed_ = false;           // and whether it may have printed
  RestartIntensity intensity_;
  std::deque<Loss> losses_;                // the last few
  std::array<pid_t, 8> ended_by_tasks_{};  // the last few processes
  std::size_t ended_count_ = 0;
  bool closing_ = false;
  bool ending_ = false;  // and no worker is replaced any more
  bool ended_ = false;
  std::uint64_t alarm_ns_ = ipc::kForever;     // when on_timer will be called; kForever: not at all
  std::uint64_t idle_due_ns_ = ipc::kForever;  // when somebody may have been idle for too long
  bool recheck_armed_ = false;
  bool look_closely_ = false;       // time has passed: is a task stuck behind a long one?
  bool purged_ = false;             // of a broken pool: everything pending has failed
  std::uint32_t initializing_ = 0;  // links whose initializer has not answered
  Waiter* waiters_ = nullptr;
  std::uint32_t waiting_for_room_ = 0;  // of them
  Waiter* collector_ = nullptr;
  bool collector_asleep_ = false;
  bool has_initializer_ = false;
  Call initializer_{};
  ipc::BlockRef initializer_block_{};
  std::vector<std::byte> broken_failure_;
  std::string broken_reason_;
  std::deque<Loss> broken_by_;
  // guarded by completions_mutex_
  std::mutex completions_mutex_;
  std::condition_variable completions_ready_;
  std::vector<void*> completions_;
  bool completions_closed_ = false;
};

}  // namespace owngil::runtime

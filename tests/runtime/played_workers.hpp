// SPDX-License-Identifier: BSD-3-Clause
// Workers for a supervisor's tests: threads of this process that run the real loop.
//
// A payload says what to do: "echo …" answers itself, "die" ends the thread without an answer, as
// a process would that was killed, "hold" waits until the test calls open() or the worker is
// killed, "obey" until it is interrupted, too; "print" is said to have printed, "grow" makes the
// worker's memory larger. The buffers of a call are answered with buffers that hold the same. A worker that
// may refuse does so with "refuse", and fails at "unfit" as what cannot run its function.
// Threads: the supervisor's callers, one for each worker, and one that plays the control thread.
#pragma once

#include "ipc/buffer_list.hpp"
#include "ipc/clock.hpp"
#include "ipc/futex.hpp"
#include "ipc/item.hpp"
#include "ipc/stack_signal.hpp"
#include "runtime/supervisor.hpp"
#include "workers/worker_loop.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace owngil::runtime {

inline constexpr std::size_t kTestArena = std::size_t{1} << 22;
inline constexpr std::size_t kScribbledBytes = 256;

struct Killed {};

class PlayedWorkers {
 public:
  ~PlayedWorkers() { stop(); }

  std::unique_ptr<Launcher> launcher() { return std::make_unique<Play>(*this); }

  // Starts to play the control thread of this supervisor.
  void control(Supervisor& supervisor) {
    supervisor_ = &supervisor;
    control_ = std::thread([this] { run_control(); });
  }

  // Requires: the pool has ended, or will soon.
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (control_.joinable()) control_.join();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

  // As somebody would who is not the supervisor.
  void kill_from_outside(std::uint64_t key) { kill(key); }

  // Returns once tasks have been interrupted so often, ever.
  void wait_for_signals(std::uint64_t signals) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return signals_ >= signals; });
  }

  // Returns once so many tasks have come to "hold" or "obey", ever.
  void wait_for_held(std::uint64_t tasks) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return held_ >= tasks; });
  }

  // How often a task with this payload was begun.
  int runs(const std::string& payload) {
    const std::lock_guard lock(mutex_);
    const auto found = runs_.find(payload);
    return found != runs_.end() ? found->second : 0;
  }

  // The most workers that have run a task at the same time.
  int most_at_once() {
    const std::lock_guard lock(mutex_);
    return most_at_once_;
  }

  std::uint64_t launches() {
    const std::lock_guard lock(mutex_);
    return launches_;
  }

  // Launched, and not gone yet.
  std::size_t alive() {
    const std::lock_guard lock(mutex_);
    return alive_.size();
  }

  // What happens when a worker is asked where it is, on the control thread.
  std::function<void(std::uint64_t key)> asked;

  // As a worker does in its signal's handler.
  void show_stack(std::uint64_t key, std::string_view text) {
    const std::lock_guard lock(mutex_);
    const auto [channel, fd] = present_.at(key);
    EXPECT_EQ(::pwrite(fd, text.data(), text.size(), ipc::kStackTextOffset),
              static_cast<ssize_t>(text.size()));
    channel->dump.task = channel->current.task.load();
    channel->dump.signal = 0;
    channel->dump.size = static_cast<std::uint32_t>(text.size());
    ++channel->dump.number;
  }

  // The next launches are refused by the system, after so many more.
  void refuse_launches(std::uint64_t after = 0) {
    const std::lock_guard lock(mutex_);
    refuse_from_ = launches_ + after;
  }

  // What becomes of the next launches: a worker, nothing, or one that ends before it is ready.
  enum class Start { works, fails, is_stillborn };
  void set_starts(Start start) {
    const std::lock_guard lock(mutex_);
    start_ = start;
  }

  // Whether workers that are starting, or leaving, are kept at it.
  void hold_starts(bool held) {
    const std::lock_guard lock(mutex_);
    starts_held_ = held;
    changed_.notify_all();
  }
  void hold_ends(bool held) {
    const std::lock_guard lock(mutex_);
    ends_held_ = held;
    changed_.notify_all();
  }

  static std::uint64_t key_of(pid_t pid) { return static_cast<std::uint64_t>(pid - kFirstPid); }

  // What the first worker answers instead of the truth.
  std::function<void(ipc::ResultSlot&)> lie;
  // What it writes into the one block of its answer to a chunk.
  std::function<void(std::span<std::byte>, std::uint64_t offset)> scribble;

  // Plays a worker in place of the loop, until its end or until `is_killed`; false: not this one.
  struct Stage {
    ipc::Channel& channel;
    ipc::WorkerEnd& end;
    ipc::Arena& results;
    std::function<bool()> is_killed;
  };
  std::function<bool(const Stage&)> instead;

 private:
  class Play final : public Launcher {
   public:
    explicit Play(PlayedWorkers& world) : world_(world) {}
    std::uint64_t next_key() override { return ++last_key_; }
    void launch(std::uint64_t key, std::uint32_t, const WorkerFds& fds) override {
      world_.launch(key, fds);
    }
    void kill(std::uint64_t key) noexcept override { world_.kill(key); }
    void signal(std::uint64_t key, int number) noexcept override { world_.signal(key, number); }
    void call_after(std::uint64_t delay_ns) override { world_.call_after(delay_ns); }
    void ended() override { world_.end(); }

   private:
    PlayedWorkers& world_;
    std::uint64_t last_key_ = 0;
  };

  class Runner final : public workers::TaskRunner {
   public:
    Runner(PlayedWorkers& world, std::uint64_t key, ipc::WorkerEnd& end,
           const ipc::ArenaView& arguments, bool may_refuse)
        : world_(world), key_(key), end_(end), arguments_(arguments), may_refuse_(may_refuse) {}

    void run(const workers::Task& task, const workers::ReceivedBlobs& blobs,
             workers::Reply& reply) override {
      if (!blobs.find(task.function)) throw Killed{};  // shows as a death in the test
      const AtWork at_work(world_);
      if (may_refuse_ && starts_with(task.payload, "refuse")) {
        static_cast<void>(reply.set(ipc::Status::refused, ipc::Format::none, kLacking));
        return;
      }
      if (task.format == ipc::Format::buffers) return echo_buffers(task.payload, reply);
      if (task.kind != ipc::TaskKind::chunk) {
        obey(task.payload);
        static_cast<void>(reply.set(status_of(task.payload), ipc::Format::tagged, task.payload,
                                    flags_of(task, task.payload)));
        return;
      }
      if (!reply.items().open(task.count)) return;
      bool is_unfit = false;
      std::span<const std::byte> rest = task.payload;
      for (std::uint32_t i = 0; i < task.count; ++i) {
        if (end_.is_stop_ordered_after_item(task.id)) break;
        if (task.timed) end_.begin_item(ipc::now_ns());
        const ipc::Item item = ipc::read_item(rest).value();
        const auto bytes = rest.subspan(item.head, item.size);
        rest = rest.subspan(item.end());
        is_unfit = may_refuse_ && (starts_with(bytes, "refuse") || starts_with(bytes, "unfit"));
        if (is_unfit && starts_with(bytes, "refuse")) break;
        obey(bytes);
        if (task.timed) end_.end_item();
        static_cast<void>(
            reply.items().add(status_of(bytes), ipc::Format::tagged, bytes, flags_of(task, bytes)));
        if (is_unfit) break;
      }
      reply.close_items();
      if (is_unfit) reply.add_flag(ipc::kUnfit);
    }

    bool has_printed(std::uint64_t) override { return std::exchange(printed_, false); }
    void forget(std::uint32_t) override {}
    void before_sleep() override {}
    bool after_sleep() override {
      if (world_.is_killed(key_)) throw Killed{};
      return true;
    }

   private:
    void echo_buffers(std::span<const std::byte> payload, workers::Reply& reply) {
      const ipc::BufferList list = ipc::BufferList::read(payload).value();
      std::vector<std::byte> answer(payload.begin(), payload.end());
      for (std::uint32_t i = 0; i != list.size(); ++i) {
        const ipc::BlockRef taken = reply.memory().allocate(list[i].size).value();
        std::memcpy(reply.memory().at(taken.offset), arguments_.checked(list[i]), taken.size);
        std::memcpy(answer.data() + sizeof(ipc::BufferListHead) + i * sizeof taken, &taken,
                    sizeof taken);
        EXPECT_TRUE(end_.try_push_return(list[i].offset));
      }
      obey(list.rest());
      EXPECT_TRUE(reply.set(ipc::Status::returned, ipc::Format::buffers, answer));
    }

    ipc::Status status_of(std::span<const std::byte> bytes) const {
      return starts_with(bytes, "raise") || (may_refuse_ && starts_with(bytes, "unfit"))
                 ? ipc::Status::raised
                 : ipc::Status::returned;
    }

    // Every exception is worth another run, to whoever asks.
    std::uint8_t flags_of(const workers::Task& task, std::span<const std::byte> bytes) const {
      if (may_refuse_ && starts_with(bytes, "unfit")) return ipc::kUnfit | ipc::kRetryable;
      return task.retry_on != 0 && starts_with(bytes, "raise") ? ipc::kRetryable : 0;
    }

    void obey(std::span<const std::byte> bytes) {
      world_.count_run({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      if (starts_with(bytes, "grow")) private_bytes_ += 100;
      if (starts_with(bytes, "die")) throw Killed{};
      if (starts_with(bytes, "hold")) world_.hold(key_, false);
      if (starts_with(bytes, "obey")) world_.hold(key_, true);
      if (starts_with(bytes, "print")) printed_ = true;
      if (world_.is_killed(key_)) throw Killed{};
    }

    static bool starts_with(std::span<const std::byte> bytes, std::string_view text) {
      return bytes.size() >= text.size() &&
             std::memcmp(bytes.data(), text.data(), text.size()) == 0;
    }

    static constexpr std::array kLacking = {std::byte{'n'}, std::byte{'p'}};

    PlayedWorkers& world_;
    std::uint64_t key_;
    ipc::WorkerEnd& end_;
    const ipc::ArenaView& arguments_;
    bool may_refuse_;
    bool printed_ = false;
  };

  // While it exists one more worker runs a task.
  class AtWork {
   public:
    explicit AtWork(PlayedWorkers& world) : world_(world) {
      const std::lock_guard lock(world_.mutex_);
      world_.most_at_once_ = std::max(world_.most_at_once_, ++world_.at_work_);
    }
    AtWork(const AtWork&) = delete;
    AtWork& operator=(const AtWork&) = delete;
    ~AtWork() {
      const std::lock_guard lock(world_.mutex_);
      --world_.at_work_;
    }

   private:
    PlayedWorkers& world_;
  };

  // What is known of a worker that is there: where it sleeps, and where it writes.
  struct Place {
    ipc::Channel* channel;
    int channel_fd;
  };
  class Present {
   public:
    Present(PlayedWorkers& world, std::uint64_t key, Place place) : world_(world), key_(key) {
      const std::lock_guard lock(world_.mutex_);
      world_.present_[key] = place;
    }
    Present(const Present&) = delete;
    Present& operator=(const Present&) = delete;
    ~Present() {
      const std::lock_guard lock(world_.mutex_);
      world_.present_.erase(key_);
    }

   private:
    PlayedWorkers& world_;
    std::uint64_t key_;
  };

  void launch(std::uint64_t key, const WorkerFds& fds) {
    const auto copy = [](int fd) { return ipc::UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); };
    const std::lock_guard lock(mutex_);
    if (launches_ >= refuse_from_) {
      throw std::system_error(EAGAIN, std::generic_category(), "clone");
    }
    ++launches_;
    if (start_ == Start::fails) {
      post_locked([this, key] { supervisor_->on_failed(key, "there is no template"); });
      return;
    }
    alive_.insert(key);
    threads_.emplace_back([this, key, channel = copy(fds.channel), results = copy(fds.results),
                           arguments = copy(fds.arguments), board = copy(fds.board),
                           caller = copy(fds.caller_bell),
                           control = copy(fds.control_bell)]() mutable {
      if (come_up(key)) {
        play(key, channel.get(), std::move(results), arguments.get(), board.get(), caller.get(),
             control.get());
      }
      go(key);
    });
  }

  // False: it ends before it is ready.
  bool come_up(std::uint64_t key) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !starts_held_ || killed_.contains(key) || stopping_; });
    post_locked([this, key] { supervisor_->on_started(key, pid_of(key)); });
    return start_ != Start::is_stillborn && !killed_.contains(key);
  }

  void go(std::uint64_t key) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !ends_held_ || killed_.contains(key) || stopping_; });
    alive_.erase(key);
    post_locked([this, key] { supervisor_->on_exited(key, pid_of(key), WorkerExit{9, true, 0}); });
  }

  static constexpr pid_t kFirstPid = 1000;
  static pid_t pid_of(std::uint64_t key) { return kFirstPid + static_cast<pid_t>(key); }

  void play(std::uint64_t key, int channel_fd, ipc::UniqueFd results_fd, int arguments_fd,
            int board_fd, int caller_fd, int control_fd) {
    const ipc::Mapping channel(channel_fd, sizeof(ipc::Channel), ipc::Access::read_write);
    const ipc::Mapping board(board_fd, sizeof(ipc::Board), ipc::Access::read_only);
    const ipc::ArenaView arguments(arguments_fd, kTestArena);
    ipc::Arena results(std::move(results_fd), kTestArena);
    ipc::WorkerEnd end(channel.as<ipc::Channel>(), board.as<const ipc::Board>(), caller_fd,
                       control_fd);
    if (instead &&
        instead({channel.as<ipc::Channel>(), end, results, [&] { return is_killed(key); }})) {
      return;
    }
    const Present present(*this, key, {&channel.as<ipc::Channel>(), channel_fd});
    Runner runner(*this, key, end, arguments, channel.as<ipc::Channel>().header.may_refuse != 0);
    const workers::MemoryReader reader{[]() noexcept { return private_bytes_; },
                                       []() noexcept { return private_bytes_; }};
    const std::uint64_t limit = channel.as<ipc::Channel>().header.memory_limit;
    workers::WorkerLoop loop(end, arguments, results, runner, workers::MemoryLimit(limit, reader));
    if ((lie || scribble) && key == 1) {
      tell_lies(end, results);
      return;
    }
    try {
      static_cast<void>(loop.run(1));
    } catch (const Killed&) {
    }
  }

  // A worker that breaks the protocol: it answers each task with what `lie` makes of the answer.
  void tell_lies(ipc::WorkerEnd& end, ipc::Arena& results) {
    end.set_state(ipc::WorkerState::ready, 1);
    while (const ipc::TaskSlot* slot = wait_for_task(end)) {
      if (slot->kind == ipc::TaskKind::stop) return;
      if (slot->kind == ipc::TaskKind::call || slot->kind == ipc::TaskKind::chunk) {
        static_cast<void>(end.try_claim());
        end.begin(slot->task, 0);
        ipc::ResultSlot& result = end.reserve_result();
        result.task = slot->task;
        result.position = end.task_position();
        result.run_ns = 1;
        result.count = slot->count;
        result.status = ipc::Status::returned;
        result.format = ipc::Format::tagged;
        result.where = ipc::Where::inline_bytes;
        result.size = 0;
        if (scribble) scribble_chain(result, results);
        if (lie) lie(result);
        end.publish_result();
      }
      end.pop_task();
    }
  }

  void scribble_chain(ipc::ResultSlot& result, ipc::Arena& results) {
    const ipc::BlockRef block = results.allocate(kScribbledBytes).value();
    scribble({results.at(block.offset), block.size}, block.offset);
    result.status = ipc::Status::chunk;
    result.where = ipc::Where::block;
    result.block = block;
  }

  const ipc::TaskSlot* wait_for_task(ipc::WorkerEnd& end) {
    while (end.front_task() == nullptr) {
      if (all_killed()) return nullptr;
      static_cast<void>(end.sleep_for_task(1'000'000));
    }
    return end.front_task();
  }

  void hold(std::uint64_t key, bool obedient) {
    std::unique_lock lock(mutex_);
    ++held_;
    changed_.notify_all();
    changed_.wait(lock, [&] {
      return open_ || killed_.count(key) != 0 || (obedient && interrupted_ == key);
    });
    if (interrupted_ == key) interrupted_ = 0;
  }

  void signal(std::uint64_t key, int number) {
    if (number == ipc::stack_signal()) {
      if (asked) asked(key);
      return;
    }
    const std::lock_guard lock(mutex_);
    ++signals_;
    interrupted_ = key;
    changed_.notify_all();
  }

  void call_after(std::uint64_t delay_ns) {
    const std::lock_guard lock(mutex_);
    timer_at_ns_ = ipc::now_ns() + delay_ns;
  }

  void kill(std::uint64_t key) {
    const std::lock_guard lock(mutex_);
    killed_[key] = true;
    changed_.notify_all();
  }

  void count_run(const std::string& payload) {
    const std::lock_guard lock(mutex_);
    ++runs_[payload];
  }

  bool is_killed(std::uint64_t key) {
    const std::lock_guard lock(mutex_);
    return killed_.count(key) != 0;
  }

  bool all_killed() {
    const std::lock_guard lock(mutex_);
    return killed_.size() == launches_ || stopping_;
  }

  void end() {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }

  void post(std::function<void()> call) {
    const std::lock_guard lock(mutex_);
    post_locked(std::move(call));
  }

  void post_locked(std::function<void()> call) {
    calls_.push_back(std::move(call));
    changed_.notify_all();
  }

  void run_control() {
    std::unique_lock lock(mutex_);
    while (true) {
      if (!calls_.empty()) {
        const auto call = std::move(calls_.front());
        calls_.pop_front();
        lock.unlock();
        call();
        lock.lock();
        continue;
      }
      if (stopping_) return;
      const bool due = timer_at_ns_ <= ipc::now_ns();
      if (due) timer_at_ns_ = ipc::kForever;
      for (const auto& [key, place] : present_) {
        // Again and again: it may not sleep yet.
        if (killed_.count(key) == 0) continue;
        static_cast<void>(ipc::futex_wake(place.channel->task_tail.value, 1));
      }
      lock.unlock();
      if (due) supervisor_->on_timer();
      pollfd bell{supervisor_->control_bell(), POLLIN, 0};
      if (::poll(&bell, 1, 1) > 0) supervisor_->on_control_bell();
      lock.lock();
    }
  }

  static inline thread_local std::uint64_t private_bytes_ = 0;  // of a worker

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> calls_;
  std::map<std::uint64_t, bool> killed_;
  std::map<std::uint64_t, Place> present_;
  std::set<std::uint64_t> alive_;
  std::map<std::string, int> runs_;
  std::vector<std::thread> threads_;
  std::thread control_;
  Supervisor* supervisor_ = nullptr;
  int at_work_ = 0;
  int most_at_once_ = 0;
  std::uint64_t launches_ = 0;
  std::uint64_t held_ = 0;
  std::uint64_t signals_ = 0;
  std::uint64_t interrupted_ = 0;  // the worker whose task is to stop waiting
  std::uint64_t timer_at_ns_ = ipc::kForever;
  std::uint64_t refuse_from_ = ipc::kForever;
  Start start_ = Start::works;
  bool open_ = false;
  bool starts_held_ = false;
  bool ends_held_ = false;
  bool stopping_ = false;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// Waiting, and seeing to it that somebody always collects while somebody must be served.
//
// A thread that waits spins for a moment if a CPU is free for it, then one of those that wait, the
// collector, sleeps on the caller's bell and serves all; the others sleep until it calls them.
#include "ipc/clock.hpp"
#include "ipc/cpu_pause.hpp"
#include "runtime/parking.hpp"
#include "runtime/supervisor.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace owngil::runtime {

namespace {

// A sleeper looks up this often, for a signal that came just before it fell asleep.
constexpr std::uint64_t kLongestSleepNs = 100'000'000;
// With an idle worker and tasks in another's ring, look again whether they are stuck.
constexpr std::uint64_t kRecheckNs = 2'000'000;
// A task may have written over the words by which its worker wakes and is woken. So nobody relies
// on them alone: while a worker owes an answer that somebody waits for, look this often.
constexpr std::uint64_t kMistrustNs = 1'000'000'000;

std::uint64_t until(std::uint64_t deadline_ns) {
  if (deadline_ns == ipc::kForever) return kLongestSleepNs;
  const std::uint64_t now = ipc::now_ns();
  return deadline_ns <= now ? 0 : std::min(deadline_ns - now, kLongestSleepNs);
}

void ring(int bell_fd) {
  const std::uint64_t one = 1;
  // It fails only when the counter is full, and then it is readable as well.
  static_cast<void>(!::write(bell_fd, &one, sizeof one));
}

void silence(int bell_fd) {
  std::uint64_t rings = 0;
  static_cast<void>(!::read(bell_fd, &rings, sizeof rings));
}

}  // namespace

struct Supervisor::Waiter {
  const Task* task;
  const MapJob* job;
  bool for_room = false;
  Waiter* next = nullptr;
  Parking parking = {};

  // A waiter for the end of the pool serves nobody.
  bool may_collect() const { return task != nullptr || job != nullptr || for_room; }
};

template <class Ready>
bool Supervisor::spin_until(Ready&& ready, std::uint64_t budget_ns) {
  const std::uint64_t start = ipc::now_ns();
  while (true) {
    {
      const Lock lock(mutex_);
      if (ready()) return true;
      if (collector_ != nullptr) return false;
      settle();
      if (ready()) return true;
      // A task that runs for longer than the spin would is not worth spinning for.
      if (!scheduler_.caller_may_spin() || scheduler_.estimate_ns() > options_.caller_spin_ns) {
        return false;
      }
    }
    for (int i = 0; i < 3; ++i) ipc::cpu_pause();
    if (ipc::now_ns() - start > budget_ns) return false;
  }
}

template <class Ready>
WaitEnd Supervisor::wait_until(Ready&& ready, Waiter& self, std::uint64_t deadline_ns) {
  if (self.may_collect() && !self.for_room && spin_until(ready, options_.caller_spin_ns)) {
    return WaitEnd::ready;
  }
  Lock lock(mutex_);
  if (ready()) return WaitEnd::ready;
  self.next = waiters_;
  waiters_ = &self;
  WaitEnd end = WaitEnd::ready;
  bool interrupted = false;
  while (true) {
    if (collector_ == nullptr && self.may_collect()) collector_ = &self;
    settle();
    if (ready()) break;
    if (interrupted || until(deadline_ns) == 0) {
      end = interrupted ? WaitEnd::signal : WaitEnd::timeout;
      break;
    }
    interrupted = sleep(lock, self, deadline_ns);
  }
  leave(self);
  settle();
  return end;
}

// True: a signal came, or it is time to look whether one has come just before.
bool Supervisor::sleep(Lock& lock, Waiter& self, std::uint64_t deadline_ns) {
  const std::uint64_t limit_ns = until(deadline_ns);
  if (collector_ == &self) return sleep_as_collector(lock, limit_ns);
  lock.unlock();
  const Parking::Ended ended = self.parking.park(limit_ns);
  lock.lock();
  return ended == Parking::Ended::signal ||
         (ended == Parking::Ended::timeout && limit_ns == kLongestSleepNs);
}

bool Supervisor::sleep_as_collector(Lock& lock, std::uint64_t limit_ns) {
  collector_asleep_ = true;
  if (!arm(ipc::Bell::caller)) {
    collector_asleep_ = false;
    return false;
  }
  if (is_recheck_due()) limit_ns = std::min(limit_ns, kRecheckNs);
  lock.unlock();
  pollfd bell{caller_bell_.get(), POLLIN, 0};
  const timespec time{static_cast<time_t>(limit_ns / 1'000'000'000),
                      static_cast<long>(limit_ns % 1'000'000'000)};
  const int rung = ::ppoll(&bell, 1, &time, nullptr);
  const bool signal = rung < 0 && errno == EINTR;
  lock.lock();
  collector_asleep_ = false;
  if (rung > 0) silence(caller_bell_.get());
  if (rung == 0) wake_workers();
  look_closely_ = true;
  return signal || (rung == 0 && limit_ns == kLongestSleepNs);
}

void Supervisor::wake(Waiter& waiter) {
  if (&waiter == collector_) {
    if (collector_asleep_) ring(caller_bell_.get());
  } else {
    waiter.parking.unpark();
  }
}

void Supervisor::wake_waiters_of(const Task& task) {
  const MapJob* job =
      task.kind == ipc::TaskKind::chunk ? static_cast<const Segment&>(task).job : nullptr;
  for (Waiter* waiter = waiters_; waiter != nullptr; waiter = waiter->next) {
    if (waiter->task == &task || (job != nullptr && waiter->job == job)) wake(*waiter);
  }
}

void Supervisor::wake_for_room() {
  for (Waiter* waiter = waiters_; waiter != nullptr; waiter = waiter->next) {
    if (waiter->for_room) wake(*waiter);
  }
}

// Any answer may make room.
Room Supervisor::wait_for_room(std::uint64_t size) {
  if (size > options_.arena_limit || size > arguments_.size()) return Room::never;
  bool is_hopeless = false;
  const auto ready = [&] {
    take_all_returns();
    const auto block = allocate(size);
    if (block) arguments_.free(block->offset);
    is_hopeless = !block && pending_ == 0;
    return block || is_hopeless;
  };
  {
    const Lock lock(mutex_);
    ++waiting_for_room_;
  }
  Waiter self{nullptr, nullptr, true};
  const WaitEnd end = wait_until(ready, self, ipc::kForever);
  const Lock lock(mutex_);
  --waiting_for_room_;
  if (is_hopeless) return Room::none;
  return end == WaitEnd::ready ? Room::perhaps : Room::signal;
}

void Supervisor::wake_all() {
  for (Waiter* waiter = waiters_; waiter != nullptr; waiter = waiter->next) wake(*waiter);
}

void Supervisor::leave(Waiter& self) {
  Waiter** link = &waiters_;
  while (*link != &self) link = &(*link)->next;
  *link = self.next;
  if (collector_ != &self) return;
  collector_ = nullptr;
  for (Waiter* waiter = waiters_; waiter != nullptr; waiter = waiter->next) {
    if (!waiter->may_collect()) continue;
    waiter->parking.unpark();  // it finds that there is no collector, and becomes it
    return;
  }
}

bool Supervisor::spin(Task& task, std::uint64_t budget_ns) {
  return spin_until([&task] { return task.is_complete(); }, budget_ns);
}

WaitEnd Supervisor::wait(Task& task, std::uint64_t deadline_ns) {
  {
    const Lock lock(mutex_);
    task.waited = true;
  }
  Waiter self{&task, nullptr};
  return wait_until([&task] { return task.is_complete(); }, self, deadline_ns);
}

bool Supervisor::spin(MapJob& job, std::uint64_t budget_ns) {
  return spin_until([&job] { return job.first != nullptr && job.first->is_complete(); }, budget_ns);
}

WaitEnd Supervisor::wait(MapJob& job, std::uint64_t deadline_ns) {
  {
    const Lock lock(mutex_);
    job.waited = true;
  }
  Waiter self{nullptr, &job};
  return wait_until([&job] { return job.first != nullptr && job.first->is_complete(); }, self,
                    deadline_ns);
}

WaitEnd Supervisor::wait_ended(std::uint64_t deadline_ns) {
  Waiter self{nullptr, nullptr};
  return wait_until([this] { return ended_; }, self, deadline_ns);
}

bool Supervisor::needs_service() const {
  return !backlog_.empty() || watched_ > 0 || waiting_for_room_ > 0 || (closing_ && !ended_) ||
         initializing_ > 0 || scheduler_.is_worth_moving();
}

// Whose result has to come in before somebody is wanted: the answers that `link` will have given.
std::uint64_t Supervisor::notify_position(WorkerLink& link) const {
  const std::uint64_t next = link.end().result_position() + 1;
  if (link.outstanding == 0) return link.initializing ? next : ipc::kForever;
  if (link.watched > 0 || link.initializing || waiting_for_room_ > 0) return next;
  std::uint64_t position = ipc::kForever;
  if (!backlog_.empty()) {
    // Refill in time: when half of what the ring may hold has been worked off.
    const std::uint64_t keep =
        std::min<std::uint64_t>(scheduler_.depth() / 2, link.outstanding - 1);
    position = next + link.outstanding - 1 - keep;
  } else if (scheduler_.any_queued() || closing_) {
    position = next + link.outstanding - 1;  // once it is idle, it may take over from another
  }
  for (const Waiter* waiter = waiters_; waiter != nullptr; waiter = waiter->next) {
    const Task* task = waiter->job != nullptr ? waiter->job->first : waiter->task;
    if (task == nullptr || task->rank != link.rank ||
        task->stage.load(std::memory_order_relaxed) != Stage::sent) {
      continue;
    }
    position = std::min(position, next + link.answers_until(*task) - 1);
  }
  return position;
}

// Sets the bell. False: a result that it would have been rung for is there already.
bool Supervisor::arm(ipc::Bell who) {
  if (bell_.who() != who) bell_.set(who);
  bool armed = true;
  for (WorkerLink* link : busy_) {
    if (link->state == LinkState::doomed) continue;  // what it says is not read any more
    armed = link->end().set_notify_at(notify_position(*link)) && armed;
  }
  return armed;
}

// Brings everything to rest: collects what is ready, sends what can be sent, sets the bell.
void Supervisor::settle() {
  while (true) {
    collect();
    if (is_broken() && !purged_) fail_everything();
    dispatch();
    move_queued();
    if (vacant_ > 0) {
      fill_seats();
      if (is_broken() && !purged_) fail_everything();
    }
    maybe_stop();
    if (collector_ != nullptr ? !collector_asleep_ : !needs_service()) {
      if (bell_.who() != ipc::Bell::nobody) bell_.set(ipc::Bell::nobody);
      break;
    }
    if (arm(collector_ != nullptr ? ipc::Bell::caller : ipc::Bell::control)) break;
  }
  if (!recheck_armed_ && collector_ == nullptr && is_recheck_due()) {
    recheck_armed_ = true;
    wake_at(ipc::now_ns() + kRecheckNs);
  }
  if (alarm_ns_ == ipc::kForever && !busy_.empty() && bell_.who() == ipc::Bell::control) {
    wake_at(ipc::now_ns() + kMistrustNs);
  }
}

// Those that owe an answer, whatever they say of their sleep.
void Supervisor::wake_workers() {
  for (WorkerLink* link : busy_) link->end().wake();
}

// Whether time alone may show that a task is stuck behind a long one.
bool Supervisor::is_recheck_due() const {
  return (scheduler_.any_idle(Choice::first) || scheduler_.any_idle(Choice::fallback) ||
          vacant_ > 0) &&
         scheduler_.any_queued();
}

void Supervisor::on_control_bell() {
  silence(control_bell_.get());
  const Lock lock(mutex_);
  settle();
}

}  // namespace owngil::runtime

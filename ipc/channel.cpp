// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/channel.hpp"

#include "ipc/clock.hpp"
#include "ipc/cpu_pause.hpp"
#include "ipc/fence.hpp"
#include "ipc/futex.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace owngil::ipc {

namespace {

void write_to(int bell_fd) noexcept {
  const std::uint64_t one = 1;
  // It fails only where nobody is left to be told.
  static_cast<void>(!::write(bell_fd, &one, sizeof one));
}

}  // namespace

// --- the supervisor's end -----------------------------------------------------------------

SupervisorEnd::SupervisorEnd(Channel& channel)
    : channel_(&channel),
      tasks_(channel.task_tail.value, channel.task_head.value, channel.tasks),
      results_(channel.result_tail.value, channel.result_head.value, channel.results),
      releases_(channel.release_tail.value, channel.release_head.value, channel.releases),
      returns_(channel.return_tail.value, channel.return_head.value, channel.returns) {
  // relaxed: there is no worker yet
  channel.orders.notify_at.store(notify_at_, std::memory_order_relaxed);
  channel.orders.spin_ns.store(spin_ns_, std::memory_order_relaxed);
}

std::uint64_t SupervisorEnd::task_room() const noexcept {
  auto now = tasks_;  // a copy: its look at the counter is for this answer only
  return now.room();
}

bool SupervisorEnd::wake_if_asleep() noexcept {
  full_fence();  // fence with: sleep_for_task
  const std::uint32_t epoch = channel_->sleep.epoch.load(std::memory_order_relaxed);
  if ((epoch & 1) == 0 || epoch == woken_epoch_) {
    return false;
  }
  if (futex_wake(channel_->task_tail.value, 1) > 0) {
    woken_epoch_ = epoch;  // that sleep is over; more tasks before it says so need no more calls
  }
  // Nobody was woken: it was about to sleep, and will not, for task_tail has changed (C5). Or it
  // saw this very task before it began this sleep; then the next task is one to wake it for.
  return true;
}

void SupervisorEnd::wake() noexcept { futex_wake(channel_->task_tail.value, 1); }

bool SupervisorEnd::set_notify_at(std::uint64_t position) noexcept {
  if (position != notify_at_) {
    notify_at_ = position;
    channel_->orders.notify_at.store(position, std::memory_order_relaxed);  // the fence orders it
    full_fence();  // fence with: publish_result
  }
  return results_.look_for_more() < position;
}

void SupervisorEnd::set_spin_ns(std::uint64_t spin_ns) noexcept {
  if (spin_ns != spin_ns_) {
    spin_ns_ = spin_ns;
    // relaxed: a worker that sees it late spins a moment longer or shorter
    channel_->orders.spin_ns.store(spin_ns, std::memory_order_relaxed);
  }
}

void SupervisorEnd::order_stop(std::uint64_t task) noexcept {
  // relaxed: the fence orders it
  channel_->orders.stop_task.store(task, std::memory_order_relaxed);
  full_fence();  // fence with: is_stop_ordered_after_item
}

CurrentView SupervisorEnd::current() const noexcept {
  const Current& current = channel_->current;
  CurrentView view{};
  view.state = static_cast<WorkerState>(
      current.state.load(std::memory_order_acquire));                // pairs with: set_state
  view.task = current.task.load(std::memory_order_acquire);          // pairs with: begin
  view.progress = current.progress.load(std::memory_order_acquire);  // pairs with: set_progress
  // relaxed: ordered by the two loads before them
  view.chain.offset = current.chain_offset.load(std::memory_order_relaxed);
  view.chain.size = current.chain_size.load(std::memory_order_relaxed);
  view.begun_ns = current.begun_ns.load(std::memory_order_acquire);  // pairs with: begin_item
  // relaxed: read for good once its writer is dead
  view.blame = current.blame.load(std::memory_order_relaxed) != 0;
  return view;
}

StackDumpView SupervisorEnd::stack_dump() const noexcept {
  const StackDump& dump = channel_->dump;
  StackDumpView view{};
  view.number = dump.number.load(std::memory_order_acquire);  // pairs with: finish
  // relaxed: ordered by the load before them
  view.task = dump.task.load(std::memory_order_relaxed);
  view.signal = dump.signal.load(std::memory_order_relaxed);
  const std::uint32_t size = dump.size.load(std::memory_order_relaxed);
  view.size = size <= kStackTextBytes ? size : static_cast<std::uint32_t>(kStackTextBytes);
  return view;
}

// --- the worker's end ---------------------------------------------------------------------

WorkerEnd::WorkerEnd(Channel& channel, const Board& board, int caller_bell_fd, int control_bell_fd)
    : channel_(channel),
      board_(board),
      caller_bell_fd_(caller_bell_fd),
      control_bell_fd_(control_bell_fd),
      caller_bell_(file_id(caller_bell_fd)),
      control_bell_(file_id(control_bell_fd)),
      tasks_(channel.task_tail.value, channel.task_head.value, channel.tasks),
      results_(channel.result_tail.value, channel.result_head.value, channel.results),
      releases_(channel.release_tail.value, channel.release_head.value, channel.releases),
      returns_(channel.return_tail.value, channel.return_head.value, channel.returns) {}

bool WorkerEnd::spin_within_budget() noexcept {
  constexpr int kLooksPerClock = 16;  // about half a microsecond
  const auto granted = [this] {
    // relaxed: see set_spin_ns
    return channel_.orders.spin_ns.load(std::memory_order_relaxed);
  };
  if (spin_.budget_ns(granted()) == 0) {
    return false;
  }
  std::uint64_t begun_ns = 0;
  while (true) {
    for (int look = 0; look < kLooksPerClock; ++look) {
      cpu_pause();
      if (tasks_.front() != nullptr) {
        spin_.rewarded();
        return true;
      }
    }
    const std::uint64_t now = now_ns();
    if (begun_ns == 0) {
      begun_ns = now;
    }
    const std::uint64_t granted_ns = granted();
    if (granted_ns == 0) {
      return false;  // withdrawn meanwhile, which teaches nothing
    }
    if (now - begun_ns >= spin_.budget_ns(granted_ns)) {
      spin_.in_vain();
      return false;
    }
  }
}

bool WorkerEnd::sleep_for_task(std::uint64_t limit_ns) noexcept {
  const std::uint64_t asleep_since = now_ns();
  ++epoch_;
  channel_.sleep.epoch.store(epoch_, std::memory_order_relaxed);  // odd; the fence orders it
  full_fence();                                                   // fence with: wake_if_asleep
  if (tasks_.front() == nullptr) {
    futex_wait(channel_.task_tail.value, tasks_.position(), limit_ns);
  }
  ++epoch_;
  // relaxed: seen late, it costs a system call in vain
  channel_.sleep.epoch.store(epoch_, std::memory_order_relaxed);
  if (tasks_.front() == nullptr) {
    return false;
  }
  spin_.woken(now_ns() - asleep_since, channel_.orders.spin_ns.load(std::memory_order_relaxed));
  return true;
}

bool WorkerEnd::can_ring() const noexcept {
  return file_id(caller_bell_fd_) == caller_bell_ && file_id(control_bell_fd_) == control_bell_;
}

void WorkerEnd::ring() noexcept {
  // relaxed: the fence of publish_result orders it
  switch (static_cast<Bell>(board_.bell.load(std::memory_order_relaxed))) {
    case Bell::nobody: return;
    case Bell::caller: write_to(caller_bell_fd_); break;
    case Bell::control: ring_control(); break;
  }
}

void WorkerEnd::ring_control() noexcept { write_to(control_bell_fd_); }

void WorkerEnd::set_state(WorkerState state, std::uint32_t pid) noexcept {
  channel_.current.pid.store(pid, std::memory_order_relaxed);  // ordered by the next store
  channel_.current.state.store(static_cast<std::uint32_t>(state),
                               std::memory_order_release);  // pairs with: SupervisorEnd::current
}

// --- the bell -----------------------------------------------------------------------------

BellOwner::BellOwner(Board& board) : board_(&board) {}

}  // namespace owngil::ipc

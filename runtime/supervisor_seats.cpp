// SPDX-License-Identifier: BSD-3-Clause
// Seats: how many workers there are to be, who fills an empty place and when, and who leaves.
//
// A worker that is to leave keeps its seat until it has answered what it has begun. Then its link
// ends, its process is only waited for, and the next worker of that rank may start meanwhile.
#include "ipc/clock.hpp"
#include "runtime/supervisor.hpp"

#include <algorithm>
#include <exception>

namespace owngil::runtime {

namespace {

constexpr std::uint64_t kLongestRetryNs = 1'000'000'000;
// A worker that leaves has this long for its atexit functions and its threads; then it is killed,
// but only if its place is needed.
constexpr std::uint64_t kLeaveNs = 5'000'000'000;
// Of the losses that have broken the pool, so many are told.
constexpr std::size_t kLossesTold = 8;

std::string in_seconds(std::uint64_t ns) {
  std::string text = std::to_string(static_cast<double>(ns) * 1e-9);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + " s";
}

}  // namespace

// --- who comes

// Throws std::system_error; then the seat is as empty as before.
void Supervisor::launch(Rank rank) {
  Seat& seat = seats_[rank];
  auto link = std::make_unique<WorkerLink>(rank, lanes_, launcher_->next_key(), seat.launches,
                                           options_.arena_size, options_.max_memory_per_worker);
  launcher_->launch(link->key, rank,
                    {link->channel_fd(), link->results_fd(), arguments_reader_.get(),
                     board_fd_.get(), caller_bell_.get(), control_bell_.get()});
  ++seat.launches;
  if (seat.wanted) --wanted_;
  seat.wanted = false;
  --vacant_;
  ++present_;
  links_[rank] = std::move(link);
  if (has_initializer_) send_initializer(*links_[rank]);
  scheduler_.add(rank);
  apply_grants();
  if (options_.idle_timeout_ns != 0 && idle_due_ns_ == ipc::kForever) {
    idle_due_ns_ = links_[rank]->launched_ns + options_.idle_timeout_ns;
    wake_at(idle_due_ns_);
  }
}

// Starts workers in empty seats: where one is missed, and where there is work for one.
void Supervisor::fill_seats() {
  if (is_broken() || ending_ || (closing_ && pending_ == 0)) return;
  std::array<std::optional<bool>, 2> worth;  // by choice, until one more has started
  for (Rank rank = 0; rank < ranks(); ++rank) {
    if (links_[rank]) continue;
    const bool is_missed = seats_[rank].wanted && !closing_;
    if (!is_missed) {
      if (scheduler_.is_barred(rank)) continue;  // it would have to wait for its partner
      const Choice choice = lanes_.choice_of(rank);
      std::optional<bool>& known = worth[static_cast<std::size_t>(choice)];
      if (!known) known = is_worth_starting(choice);
      if (!*known) continue;
    }
    if (!may_start(rank)) continue;
    worth = {};
    try {
      launch(rank);
    } catch (const std::exception& error) {
      Failure failure;
      failure.rank = lanes_.lane_of(rank);
      lose(rank, {failure, false, error.what()}, false);
      if (is_broken()) return;
    }
    dispatch();
    move_queued();
  }
}

// How many tasks workers of that choice could begin, if there were more of them: tasks are sent in
// their order, so what is behind one of the other choice has to wait for it.
std::uint64_t Supervisor::waiting_for(Choice choice) const {
  const Task* const first = backlog_.front();
  if (first == nullptr || choice_for(*first) != choice) return 0;
  std::uint64_t waiting = backlog_.size();
  if (lanes_.paired) {
    waiting = 0;
    for (const Task* task = first; task != nullptr && waiting < target_; task = task->next) {
      if (choice_for(*task) != choice) break;
      ++waiting;
    }
  }
  if (first->place == Task::Place::anchor) {
    const auto& job = *static_cast<const MapJob*>(first->watcher);
    waiting += job.added - job.cut - 1;
  }
  return waiting;
}

bool Supervisor::is_worth_starting(Choice choice) {
  if (scheduler_.any_idle(choice)) return false;
  return scheduler_.is_worth_starting(
      choice, waiting_for(choice), [this](Rank rank) { return running_ns(rank, ipc::now_ns()); });
}

// An empty seat waits while starts fail, and while too many who have left it are still there: there
// are never more than twice as many processes as the pool is to have workers.
bool Supervisor::may_start(Rank rank) {
  const std::uint64_t now = ipc::now_ns();
  if (seats_[rank].due_ns > now) {
    wake_at(seats_[rank].due_ns);
    return false;
  }
  if (leavers_.empty() || present_ + leavers_.size() < std::size_t{2} * ranks()) return true;
  const Leaver& first = leavers_.front();
  if (first.told_ns + kLeaveNs <= now) {
    launcher_->kill(first.key);
  } else {
    wake_at(first.told_ns + kLeaveNs);
  }
  return false;
}

// --- who goes

// The link ends. `refill`: somebody is missed there even if there is no work for it.
void Supervisor::vacate(Rank rank, bool refill) {
  drop_held(links_[rank]->buffers);
  links_[rank].reset();
  --present_;
  if (rank >= ranks()) return;
  ++vacant_;
  seats_[rank].wanted = refill;
  wanted_ += refill ? 1 : 0;
}

// No more tasks for this worker. It leaves when it has answered what it keeps: all that it was
// given if that was its share, else what it has claimed.
void Supervisor::dismiss(WorkerLink& link, Dismissal why) {
  if (link.dismissal != Dismissal::memory) link.dismissal = why;
  scheduler_.close(link.rank);
  if (why != Dismissal::tasks) spare_unbegun(link);
}

// It may stay after all, if only that it was given enough or that the pool was to be smaller
// stood against it, and does not any more.
void Supervisor::readmit(WorkerLink& link) {
  const bool has_had_enough =
      options_.max_tasks_per_worker != 0 && link.assigned >= options_.max_tasks_per_worker;
  if (link.dismissal == Dismissal::resized) {
    if (link.lane >= target_) return;
  } else if (link.dismissal != Dismissal::tasks || has_had_enough) {
    return;
  }
  link.dismissal = has_had_enough ? Dismissal::tasks : Dismissal::none;
  if (!has_had_enough) scheduler_.reopen(link.rank);
}

// A dismissed worker has nothing left to answer: it is told to stop, unless it has said so itself.
void Supervisor::let_go(WorkerLink& link) {
  const bool is_recycled = link.is_recycled();
  if (link.dismissal != Dismissal::memory) stop_link(link);
  leavers_.push_back(
      {link.key, ipc::now_ns(), std::exchange(link.buffers, {}), link.give_away_result_arena()});
  recycled_ += is_recycled ? 1 : 0;
  scheduler_.remove(link.rank);
  vacate(link.rank, is_recycled);
}

// One that the pool has killed, or whose initializer has failed, is awaited where it is.
bool Supervisor::may_be_let_go(const WorkerLink& link) {
  return link.state != LinkState::doomed && !link.failure;
}

bool Supervisor::forget_leaver(std::uint64_t key) {
  return std::erase_if(leavers_, [this, key](Leaver& one) {
           if (one.key == key) bury_leaver(one);
           return one.key == key;
         }) > 0;
}

std::uint64_t Supervisor::idle_since(const WorkerLink& link, std::uint64_t now) const {
  return std::max(link.launched_ns, std::min(link.ended_ns, now));
}

// Those who have had nothing to do for too long leave. As long as anybody is there somebody may
// become one of them, and there is a next look.
void Supervisor::dismiss_idle(std::uint64_t now) {
  if (now < idle_due_ns_) {
    wake_at(idle_due_ns_);
    return;
  }
  idle_due_ns_ = ipc::kForever;
  for (const auto& link : links_) {
    if (!link || link->dismissal != Dismissal::none || !may_be_let_go(*link) || closing_) continue;
    const bool is_idle = link->outstanding == 0 && !link->initializing;
    const std::uint64_t due = (is_idle ? idle_since(*link, now) : now) + options_.idle_timeout_ns;
    if (due > now) {
      idle_due_ns_ = std::min(idle_due_ns_, due);
      continue;
    }
    dismiss(*link, Dismissal::idle);
    let_go(*link);
  }
  if (idle_due_ns_ != ipc::kForever) wake_at(idle_due_ns_);
}

// --- how many there are to be

Admission Supervisor::resize(std::uint32_t workers) {
  Lane before = 0;
  std::uint64_t mine = 0;
  {
    const Lock lock(mutex_);
    if (closing_) return is_broken() ? Admission::broken : Admission::closed;
    before = target_;
    mine = ++resizes_;
    set_target(workers);
    settle();
  }
  // One at a time, so that others get at the mutex meanwhile.
  for (Rank rank = lanes_.ranks(before); rank < lanes_.ranks(workers); ++rank) {
    const Lock lock(mutex_);
    if (closing_ || resizes_ != mine) break;
    if (links_[rank] || lanes_.choice_of(rank) == Choice::fallback) continue;
    if (!may_start(rank)) {
      seats_[rank].wanted = true;
      count_vacant();
      continue;
    }
    try {
      launch(rank);
    } catch (...) {
      set_target(before);
      settle();
      throw;
    }
    settle();
  }
  return Admission::admitted;
}

void Supervisor::set_target(std::uint32_t workers) {
  target_ = workers;
  if (ranks() > links_.size()) {
    links_.resize(ranks());
    seats_.resize(ranks());
  }
  for (Rank rank = 0; rank < links_.size(); ++rank) {
    WorkerLink* link = links_[rank].get();
    if (link == nullptr || !may_be_let_go(*link)) continue;
    if (rank < ranks()) {
      if (link->dismissal == Dismissal::resized) readmit(*link);
    } else if (link->dismissal != Dismissal::resized) {
      dismiss(*link, Dismissal::resized);
      if (!link->is_busy) let_go(*link);
    }
  }
  count_vacant();
}

void Supervisor::count_vacant() {
  vacant_ = wanted_ = 0;
  for (Rank rank = 0; rank < ranks(); ++rank) {
    if (links_[rank]) continue;
    if (lanes_.choice_of(rank) == Choice::fallback && !uses_fallback_) continue;
    ++vacant_;
    wanted_ += seats_[rank].wanted ? 1 : 0;
  }
}

// --- losses

// A worker was lost with no task to blame. The first time its seat is filled again at once; while
// nobody gets as far as an answer there, after a while. Too many losses in too short a time break
// the pool.
void Supervisor::lose(Rank rank, Loss loss, bool has_answered) {
  Seat& seat = seats_[rank];
  const std::uint64_t now = ipc::now_ns();
  seat.fruitless = has_answered ? 0 : seat.fruitless + 1;
  if (seat.fruitless > 1) {
    const std::uint32_t doublings = std::min(seat.fruitless - 2, 10U);
    seat.due_ns = now + std::min(options_.restarts.retry_ns << doublings, kLongestRetryNs);
  }
  const RestartLimit& limits = options_.restarts;
  if (is_broken() || limits.losses == RestartLimit::kNone) return;
  losses_.push_back(std::move(loss));
  if (losses_.size() > kLossesTold) losses_.pop_front();
  for (const auto& link : links_) {
    if (link && link->end().current().state != ipc::WorkerState::none) {
      intensity_.came_up(link->launched_ns);
    }
  }
  const std::uint64_t limit = limits.losses + limits.for_each_seat * target_;
  if (!intensity_.is_exceeded_by_loss(now, limit)) return;
  broken_by_ = std::move(losses_);
  break_pool({}, "its workers end again and again with no task to blame: more than " +
                     std::to_string(limit) + " (max_restarts) within " +
                     in_seconds(limits.window_ns) + " (restart_window)");
}

}  // namespace owngil::runtime

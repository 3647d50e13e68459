// SPDX-License-Identifier: BSD-3-Clause
// The life of the pool and the death of its workers. Who takes their seats: supervisor_seats.cpp.
#include "ipc/build_id.hpp"
#include "ipc/clock.hpp"
#include "ipc/control_protocol.hpp"
#include "ipc/memfd.hpp"
#include "runtime/supervisor.hpp"

#include <sys/eventfd.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>
#include <utility>

namespace owngil::runtime {

namespace {

ipc::UniqueFd make_bell() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  return ipc::UniqueFd(fd);
}

// What a worker says of its own start may be a scribble of a task's, so it is not believed alone.
bool is_mismatch(const ipc::CurrentView& current, const WorkerExit& exit) {
  return current.state == ipc::WorkerState::mismatch && exit.status_known &&
         WIFEXITED(exit.wait_status) && WEXITSTATUS(exit.wait_status) == ipc::kExitMismatch;
}

bool ran_nothing(const WorkerLink& link, const ipc::CurrentView& current) {
  return current.state == ipc::WorkerState::none && current.task == 0 &&
         link.end().result_position() == 0;
}

ipc::Board& prepared(ipc::Mapping& memory) {
  auto& board = memory.as<ipc::Board>();
  board.magic = ipc::kMagic;
  board.build = ipc::build_id();
  return board;
}

}  // namespace

Supervisor::Supervisor(SupervisorOptions options, std::unique_ptr<Launcher> launcher)
    : options_(options),
      lanes_{options.has_fallback},
      launcher_(std::move(launcher)),
      board_fd_(ipc::create_memfd("owngil-board", sizeof(ipc::Board))),
      board_memory_(board_fd_.get(), sizeof(ipc::Board), ipc::Access::read_write,
                    ipc::OnFork::exclude),
      caller_bell_(make_bell()),
      control_bell_(make_bell()),
      arguments_("owngil-arguments", options.arena_size, ipc::OnFork::exclude),
      arguments_reader_(arguments_.open_for_reading()),
      spare_(arguments_),
      bell_(prepared(board_memory_)),
      blobs_(arguments_),
      scheduler_(options.cpus, options.tuning, lanes_),
      target_(options.workers),
      links_(ranks()),
      seats_(ranks()),
      vacant_(options.workers),
      intensity_(options.restarts.window_ns) {
  ipc::seal_against_new_writers(board_fd_.get());
}

Supervisor::~Supervisor() {
  for (const auto& [name, block] : shared_) block->release();
}

void Supervisor::release() noexcept {
  if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void Supervisor::start(const Call* initializer) {
  const Lock lock(mutex_);
  if (initializer != nullptr) {
    has_initializer_ = true;
    initializer_ = *initializer;
    const auto block = arguments_.allocate(initializer->payload.size());
    if (!block) throw std::system_error(ENOMEM, std::generic_category(), "fallocate(arguments)");
    if (!initializer->payload.empty()) {
      std::memcpy(arguments_.at(block->offset), initializer->payload.data(),
                  initializer->payload.size());
    }
    initializer_block_ = {block->offset, initializer->payload.size()};
    initializer_.payload = {};
    blobs_.use(initializer_.function);
    blobs_.use(initializer_.context);
  }
  for (Rank rank = 0; rank < ranks(); ++rank) {
    if (lanes_.choice_of(rank) == Choice::first) launch(rank);
  }
  settle();
}

WorkerLink* Supervisor::find(std::uint64_t key) {
  for (const auto& link : links_) {
    if (link && link->key == key) return link.get();
  }
  return nullptr;
}

void Supervisor::on_started(std::uint64_t key, pid_t pid) {
  const Lock lock(mutex_);
  WorkerLink* link = find(key);
  if (link == nullptr) return;
  link->pid = pid;
  if (link->state == LinkState::launching) link->state = LinkState::running;
  if (link->initializing) return;
  scheduler_.came_up(link->rank);
  settle();
}

// `with_others`: it was to live with others, whose death is the loss that counts.
void Supervisor::on_failed(std::uint64_t key, const std::string& reason, bool with_others) {
  const Lock lock(mutex_);
  WorkerLink* link = find(key);
  if (link != nullptr && with_others) {
    const Rank rank = link->rank;
    bury(*link, failure_of(*link));
    vacate(rank, true);
  } else if (link != nullptr) {
    const bool has_culprit = is_task_to_blame(*link);
    end_link(*link, {failure_of(*link), false, reason}, has_culprit);
  } else if (!forget_leaver(key)) {
    return;
  }
  settle();
  maybe_ended();
}

void Supervisor::on_exited(std::uint64_t key, pid_t pid, const WorkerExit& exit) {
  const Lock lock(mutex_);
  WorkerLink* link = find(key);
  if (link == nullptr) {
    if (!forget_leaver(key)) return;
    settle();
    maybe_ended();
    return;
  }
  // Those who live in one process die together, and are reported one by one. Their links end with
  // the first report; the pool must not, for the others would come to nobody.
  std::vector<WorkerLink*> dead{link};
  if (exit.of_process) {
    link->pid = pid;
    dead = those_in(pid);
  }
  const auto is_culprit = [](WorkerLink* one) {
    return one->killed_for_task || one->last_words().blame || one->broke_protocol;
  };
  for (WorkerLink* one : dead) collect_from(*one);
  const bool is_known = std::any_of(dead.begin(), dead.end(), is_culprit);
  const bool has_culprit =
      is_known || was_ended_by_a_task(pid) ||
      std::any_of(dead.begin(), dead.end(), [](WorkerLink* one) { return is_task_to_blame(*one); });
  if (has_culprit && exit.of_process)
    ended_by_tasks_[ended_count_++ % ended_by_tasks_.size()] = pid;
  std::vector<Collateral> shares;
  for (WorkerLink* one : dead) {
    const bool is_own = dead.size() == 1 || is_culprit(one);
    shares.push_back(is_own ? Collateral::no : is_known ? Collateral::yes : Collateral::unknown);
  }
  for (std::size_t i = 0; i != dead.size(); ++i) {
    if (dead[i] != link) leavers_.push_back({dead[i]->key, ipc::now_ns(), {}, nullptr});
    end_exited(*dead[i], exit, {shares[i], dead.size() > 1}, has_culprit);
  }
  settle();
  maybe_ended();
}

std::vector<WorkerLink*> Supervisor::those_in(pid_t pid) {
  std::vector<WorkerLink*> found;
  for (const auto& link : links_) {
    if (link && link->pid == pid) found.push_back(link.get());
  }
  return found;
}

// Of one that had no time to say that it lives there its death is told after that of the others.
bool Supervisor::was_ended_by_a_task(pid_t pid) const {
  return std::find(ended_by_tasks_.begin(), ended_by_tasks_.end(), pid) != ended_by_tasks_.end();
}

bool Supervisor::shares_process(const WorkerLink& link) {
  return link.pid != 0 && those_in(link.pid).size() > 1;
}

void Supervisor::end_exited(WorkerLink& gone, const WorkerExit& exit, Share share,
                            bool has_culprit) {
  WorkerLink* const link = &gone;
  const ipc::CurrentView current = link->last_words();
  Failure failure = failure_of(*link);
  failure.collateral = share.collateral;
  failure.cost_others = share.had_neighbours;
  failure.wait_status = exit.wait_status;
  failure.status_known = exit.status_known;
  failure.peak_rss_bytes = exit.peak_rss_bytes;
  failure.oom = exit.oom;
  failure.ran_ns = link->ran_ns(current, ipc::now_ns());
  if (!exit.status_known) {
    failure.stack = link->last_stack(current.task, std::nullopt);
  } else if (WIFSIGNALED(exit.wait_status)) {
    failure.stack =
        link->last_stack(current.task, static_cast<std::uint32_t>(WTERMSIG(exit.wait_status)));
  }
  if (ending_) {
    // Whatever it was at: this was wanted.
  } else if (is_mismatch(current, exit)) {
    break_pool(
        {},
        "the owngil package was replaced while the program ran, and its workers are of another "
        "build: restart the program");
  } else if (link->failure) {
    break_pool(std::move(*link->failure), "the initializer of a worker failed");
  } else if (link->initializing && current.task == kInitializerTask &&
             share.collateral == Collateral::no) {
    if (!is_broken()) {
      Failure death = failure;
      death.task = kInitializerTask;
      death.task_name = blobs_.name(initializer_.function);
      broken_by_.push_back({std::move(death), true, {}});
    }
    break_pool({}, "a worker died in its initializer");
  }
  end_link(*link, {failure, !ran_nothing(*link, current), {}}, has_culprit);
}

// Ends the link of a worker that is gone, and says whether that is a loss: it was not if the
// worker was to leave, or if a task was to blame, be it one of another in the same process.
void Supervisor::end_link(WorkerLink& link, Loss loss, bool has_culprit) {
  const Rank rank = link.rank;
  const bool was_told = link.dismissal != Dismissal::none || link.state == LinkState::leaving;
  const bool is_recycled = link.is_recycled();
  const bool has_answered = link.ended_ns != 0;
  if (loss.came_up) intensity_.came_up(link.launched_ns);
  bury(link, loss.failure);
  vacate(rank, true);
  if (has_culprit) {
    ++restarts_;
    seats_[rank].fruitless = 0;
  } else if (is_recycled) {
    ++recycled_;
  } else if (!was_told && !ending_ && (!closing_ || pending_ > 0)) {
    ++restarts_;
    lose(rank, std::move(loss), has_answered);
  }
}

// Whether a task that has begun and is not answered is the reason, as far as can be known.
bool Supervisor::is_task_to_blame(WorkerLink& link) {
  if (link.killed_for_task) return true;
  const Task* task = link.oldest();
  const ipc::CurrentView current = link.last_words();
  if (task == nullptr || task->id != current.task) return false;
  return task->kind != ipc::TaskKind::chunk ||
         current.progress < static_cast<const Segment*>(task)->count;
}

// What the worker had begun has died with it, the rest goes back to the head of the backlog in its
// old order.
void Supervisor::bury(WorkerLink& link, const Failure& failure) {
  const ipc::CurrentView current = link.last_words();
  answered_by_ = link.key;
  printed_ = true;  // it may have, and nobody can tell
  scheduler_.remove(link.rank);
  if (link.initializing) --initializing_;
  if (link.is_busy) std::erase(busy_, &link);
  for (Task* task : std::exchange(link.after_death, {})) end_rest(*task);
  const std::vector<Task*> tasks = link.take_all();
  for (auto task = tasks.rbegin(); task != tasks.rend(); ++task) {
    if ((*task)->kind == ipc::TaskKind::chunk) {
      part_segment(link, static_cast<Segment&>(**task), current, failure, nullptr);
    } else if ((*task)->id == current.task) {
      end_begun(**task, failure, nullptr);
    } else {
      (*task)->stage.store(Stage::waiting, std::memory_order_relaxed);
      backlog_.push_front(**task);
    }
  }
  answered_by_ = 0;
  printed_ = false;
  if (ending_) cancel_all_that_waits();
}

void Supervisor::break_pool(std::vector<std::byte> failure, std::string reason) {
  if (is_broken()) return;
  broken_failure_ = std::move(failure);
  broken_reason_ = std::move(reason);
  closing_ = true;
  broken_.store(true, std::memory_order_release);
}

// Ends all that waits; of a map, what was not cut yet becomes one segment.
void Supervisor::empty_backlog(Ending ending) {
  while (Task* task = backlog_.front()) {
    backlog_.remove(*task);
    if (task->place == Task::Place::anchor) {
      auto& job = *static_cast<MapJob*>(task->watcher);
      job.queued = false;
      task = &cut_all(job);
    }
    free_payload(*task);
    complete(*task, ending);
  }
}

void Supervisor::cancel_all_that_waits() {
  empty_backlog(Ending::cancelled);
  end_resting(Ending::cancelled);
}

void Supervisor::fail_everything() {
  purged_ = true;
  for (const auto& link : links_) {
    if (!link) continue;
    scheduler_.remove(link->rank);
    for (Task* task : link->take_all()) {
      free_payload(*task);
      complete(*task, Ending::broken);
    }
    launcher_->kill(link->key);
  }
  for (const Leaver& leaver : leavers_) launcher_->kill(leaver.key);
  empty_backlog(Ending::broken);
  end_resting(Ending::broken);
  maybe_ended();
}

void Supervisor::shutdown(bool cancel_waiting) {
  const Lock lock(mutex_);
  closing_ = true;
  if (cancel_waiting) {
    for (const auto& link : links_) {
      // As in the standard pool, what a worker has been given to run next is not cancelled, though
      // it may still be starting.
      while (Task* task = link ? link->take_back_any(WorkerLink::Spare::oldest) : nullptr) {
        took_back(*link, *task);
        backlog_.push_front(*task);
      }
    }
    cancel_all_that_waits();
  }
  settle();
  maybe_ended();
}

void Supervisor::end_workers(int number) {
  const Lock lock(mutex_);
  closing_ = ending_ = true;
  collect();
  for (const auto& link : links_) {
    while (Task* task = link ? link->take_back_any(WorkerLink::Spare::nothing) : nullptr) {
      took_back(*link, *task);
      backlog_.push_front(*task);
    }
  }
  cancel_all_that_waits();
  for (const auto& link : links_) {
    if (!link) continue;
    if (number == SIGKILL || link->state == LinkState::launching) {
      launcher_->kill(link->key);
    } else {
      launcher_->signal(link->key, number);
    }
  }
  settle();
  maybe_ended();
}

// A pool that closes tells its workers to leave once nothing is pending.
void Supervisor::maybe_stop() {
  if (!closing_ || pending_ > 0 || is_broken()) return;
  for (const auto& link : links_) {
    if (link && link->outstanding == 0) stop_link(*link);
  }
}

void Supervisor::maybe_ended() {
  if (ended_ || !closing_ || (pending_ > 0 && !is_broken())) return;
  if (present_ > 0 || !leavers_.empty()) return;
  ended_ = true;
  arguments_.trim(0);  // whoever has the pool in a variable has done with it
  close_completions();
  wake_all();
  launcher_->ended();
}

Snapshot Supervisor::snapshot() {
  const Lock lock(mutex_);
  settle();
  Snapshot snapshot{};
  snapshot.restarts = restarts_;
  snapshot.recycled = recycled_;
  snapshot.leaving = leavers_.size();
  const std::uint64_t now = ipc::now_ns();
  for (Rank rank = 0; rank < links_.size(); ++rank) {
    const WorkerLink* link = links_[rank].get();
    snapshot.running += link != nullptr && link->outstanding > 0 ? 1 : 0;
    if (rank >= ranks()) {
      snapshot.leaving += link != nullptr ? 1 : 0;
      continue;
    }
    if (seats_[rank].launches == 0 && lanes_.choice_of(rank) == Choice::fallback) continue;
    WorkerSnapshot worker{};
    worker.lane = lanes_.lane_of(rank);
    worker.choice = lanes_.choice_of(rank);
    worker.state = LinkState::absent;
    worker.tasks_done = seats_[rank].tasks_done;
    worker.busy_ns = seats_[rank].busy_ns;
    if (link != nullptr) {
      worker.pid = link->pid;
      worker.state = link->initializing ? LinkState::launching : link->state;
      if (link->dismissal != Dismissal::none) worker.state = LinkState::leaving;
      worker.outstanding = link->outstanding;
      if (link->outstanding == 0) worker.idle_ns = now - idle_since(*link, now);
    }
    snapshot.workers.push_back(worker);
  }
  snapshot.pending = pending_ > snapshot.running ? pending_ - snapshot.running : 0;
  return snapshot;
}

}  // namespace owngil::runtime

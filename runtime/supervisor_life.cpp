// SPDX-License-Identifier: BSD-3-Clause
// The life of workers and of the pool: start, death, replacement, the end.
#include "ipc/build_id.hpp"
#include "ipc/clock.hpp"
#include "ipc/control_protocol.hpp"
#include "ipc/memfd.hpp"
#include "runtime/supervisor.hpp"

#include <sys/eventfd.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <system_error>
#include <utility>

namespace owngil::runtime {

namespace {

// So many workers in a row that end before they are ready are not bad luck.
constexpr std::uint32_t kFruitlessStarts = 4;

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
      launcher_(std::move(launcher)),
      board_fd_(ipc::create_memfd("owngil-board", sizeof(ipc::Board))),
      board_memory_(board_fd_.get(), sizeof(ipc::Board), ipc::Access::read_write,
                    ipc::OnFork::exclude),
      caller_bell_(make_bell()),
      control_bell_(make_bell()),
      arguments_("owngil-arguments", options.arena_size, ipc::OnFork::exclude),
      bell_(prepared(board_memory_)),
      blobs_(arguments_),
      scheduler_(options.workers, options.cpus, options.tuning),
      links_(options.workers),
      totals_(options.workers) {
  ipc::seal_against_new_writers(board_fd_.get());
  arguments_.seal();
}

Supervisor::~Supervisor() = default;

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
  for (Rank rank = 0; rank < options_.workers; ++rank) launch(rank, 0);
  settle();
}

void Supervisor::launch(Rank rank, std::uint64_t generation) {
  auto link =
      std::make_unique<WorkerLink>(rank, launcher_->next_key(), generation, options_.arena_size);
  launcher_->launch(link->key, {link->channel_fd(), link->results_fd(), arguments_.fd(),
                                board_fd_.get(), caller_bell_.get(), control_bell_.get()});
  links_[rank] = std::move(link);
  if (has_initializer_) send_initializer(*links_[rank]);
  scheduler_.add(rank);
  apply_grants();
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
}

void Supervisor::on_failed(std::uint64_t key, const std::string& reason) {
  const Lock lock(mutex_);
  WorkerLink* link = find(key);
  if (link == nullptr) return;
  const Rank rank = link->rank;
  const std::uint64_t generation = link->generation;
  bury(*link, Failure{});
  if (++fruitless_ >= kFruitlessStarts) {
    break_pool({}, "no worker could be started: " + reason);
  }
  replace(rank, generation);
  settle();
}

void Supervisor::on_exited(std::uint64_t key, pid_t pid, const WorkerExit& exit) {
  const Lock lock(mutex_);
  WorkerLink* link = find(key);
  if (link == nullptr) return;
  collect_from(*link);
  const ipc::CurrentView current = link->last_words();
  Failure failure = failure_of(*link);
  failure.pid = pid;
  failure.wait_status = exit.wait_status;
  failure.status_known = exit.status_known;
  failure.peak_rss_bytes = exit.peak_rss_bytes;
  failure.oom = exit.oom;
  failure.ran_ns = ran_ns(current, ipc::now_ns());
  if (exit.status_known && WIFSIGNALED(exit.wait_status)) {
    const auto signal = static_cast<std::uint32_t>(WTERMSIG(exit.wait_status));
    failure.stack = link->last_stack(current.task, signal);
  }
  const Rank rank = link->rank;
  const std::uint64_t generation = link->generation;
  if (is_mismatch(current, exit)) {
    break_pool(
        {},
        "the owngil package was replaced while the program ran, and its workers are of another "
        "build: restart the program");
  } else if (link->failure) {
    break_pool(std::move(*link->failure), "the initializer of a worker failed");
  } else if (link->initializing && current.task == kInitializerTask) {
    if (!is_broken()) {
      auto death = std::make_unique<Failure>(failure);
      death->task = kInitializerTask;
      death->task_name = blobs_.name(initializer_.function);
      broken_by_ = std::move(death);
    }
    break_pool({}, "a worker died in its initializer");
  } else if (ran_nothing(*link, current)) {
    if (++fruitless_ >= kFruitlessStarts) {
      break_pool({}, "workers die before they are ready; the last one with wait status " +
                         std::to_string(exit.wait_status));
    }
  } else {
    fruitless_ = 0;
  }
  bury(*link, failure);
  replace(rank, generation);
  settle();
}

// Ends the link of a worker that is gone: what it had begun has died with it, the rest goes back
// to the head of the backlog in its old order.
void Supervisor::bury(WorkerLink& link, const Failure& failure) {
  const Rank rank = link.rank;
  const ipc::CurrentView current = link.last_words();
  printed_by_ = link.key;
  scheduler_.remove(rank);
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
  printed_by_ = 0;
  links_[rank].reset();
}

void Supervisor::replace(Rank rank, std::uint64_t generation) {
  if (closing_ && (pending_ == 0 || is_broken())) {
    maybe_ended();
    return;
  }
  ++restarts_;
  try {
    launch(rank, generation + 1);
  } catch (const std::exception& error) {
    break_pool({}, std::string("a worker could not be replaced: ") + error.what());
  }
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
    empty_backlog(Ending::cancelled);
    end_resting(Ending::cancelled);
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
  for (const auto& link : links_) {
    if (link) return;
  }
  ended_ = true;
  close_completions();
  wake_all();
  launcher_->ended();
}

Snapshot Supervisor::snapshot() {
  const Lock lock(mutex_);
  settle();
  Snapshot snapshot{};
  snapshot.restarts = restarts_;
  for (Rank rank = 0; rank < links_.size(); ++rank) {
    const WorkerLink* link = links_[rank].get();
    snapshot.running += link != nullptr && link->outstanding > 0 ? 1 : 0;
    snapshot.workers.push_back({rank, link != nullptr ? link->pid : 0,
                                link != nullptr ? link->state : LinkState::launching,
                                link != nullptr ? link->outstanding : 0, totals_[rank].tasks_done,
                                totals_[rank].busy_ns});
  }
  snapshot.pending = pending_ > snapshot.running ? pending_ - snapshot.running : 0;
  return snapshot;
}

}  // namespace owngil::runtime

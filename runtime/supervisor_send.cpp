// SPDX-License-Identifier: BSD-3-Clause
// Admit, assign, send: from the caller's bytes to a worker's task ring.
#include "ipc/clock.hpp"
#include "runtime/supervisor.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace owngil::runtime {

namespace {

// Room that a task may need in a ring: for its context, its function, the judge of exceptions and
// itself; and one more than that, so that a worker can always be told to stop.
constexpr std::uint64_t kRoomForATask = 5;

// A message without a payload.
void put_head(ipc::TaskSlot& slot, ipc::TaskKind kind, std::uint32_t function = 0) {
  slot.task = 0;
  slot.function = function;
  slot.context = 0;
  slot.size = 0;
  slot.count = 1;
  slot.kind = kind;
  slot.format = ipc::Format::none;
  slot.where = ipc::Where::inline_bytes;
  slot.flags = 0;
  slot.retry_on = 0;
}

void put_payload(ipc::TaskSlot& slot, std::span<const std::byte> bytes) {
  slot.where = ipc::Where::inline_bytes;
  slot.size = static_cast<std::uint32_t>(bytes.size());
  if (!bytes.empty()) std::memcpy(slot.bytes, bytes.data(), bytes.size());
}

void put_payload(ipc::TaskSlot& slot, ipc::BlockRef block) {
  slot.where = ipc::Where::block;
  slot.size = 0;
  slot.block = block;
}

}  // namespace

Admission Supervisor::submit(const Call& call, Task*& out, const Policy* policy) {
  const std::size_t size = call.payload.size();
  std::optional<ipc::BlockRef> block;
  if (size > ipc::kInlineBytes) {
    {
      const Lock lock(mutex_);
      if (closing_) return is_broken() ? Admission::broken : Admission::closed;
      block = allocate(size);
      if (!block) return Admission::no_memory;
    }
    // Not under the mutex: it may be much.
    std::memcpy(arguments_.at(block->offset), call.payload.data(), size);
  }
  const Lock lock(mutex_);
  if (closing_) {
    if (block) arguments_.free(block->offset);
    return is_broken() ? Admission::broken : Admission::closed;
  }
  Task& task = store_.take();
  task.id = ++last_id_;
  task.function = call.function;
  task.context = call.context;
  task.format = call.format;
  task.handle = true;
  if (block) {
    task.place = Task::Place::block;
    task.block = {block->offset, size};
  } else {
    task.size = static_cast<std::uint32_t>(size);
    if (size != 0) std::memcpy(task.bytes, call.payload.data(), size);
  }
  blobs_.use(task.function);
  blobs_.use(task.context);
  if (policy != nullptr) {
    task.terms = new Terms{.policy = *policy};
    blobs_.use(policy->retry_on);
    if (policy->deadline_ns != 0) {
      const std::uint64_t when = ipc::now_ns() + policy->deadline_ns;
      task.terms->deadline = agenda_.add(when, {Appointment::What::deadline, &task, nullptr});
      wake_at(when);
    }
  }
  ++pending_;
  backlog_.push_back(task);
  out = &task;
  settle();
  return Admission::admitted;
}

std::uint32_t Supervisor::add_blob(std::span<const std::byte> bytes, std::string name) {
  const Lock lock(mutex_);
  return blobs_.add(bytes, std::move(name)).value_or(0);
}

void Supervisor::drop_blob(std::uint32_t number) {
  const Lock lock(mutex_);
  if (!blobs_.drop(number)) return;
  for (const auto& link : links_) {
    if (link && link->knows(number)) link->to_forget.push_back(number);
  }
}

std::optional<Unfitness> Supervisor::unfitness(std::uint32_t function) {
  const Lock lock(mutex_);
  settle();
  if (all_unfit_) return all_unfit_;
  const Unfitness* const known = blobs_.unfitness(function);
  return known != nullptr ? std::optional(*known) : std::nullopt;
}

void Supervisor::share_unfitness(std::uint32_t function, std::uint32_t with) {
  const Lock lock(mutex_);
  const Unfitness* const known = blobs_.unfitness(with);
  if (known != nullptr) blobs_.set_unfit(function, *known);
}

MapJob* Supervisor::open_map(std::uint32_t function, std::uint32_t context,
                             std::uint32_t chunk_size, const Policy* policy) {
  auto job = std::make_unique<MapJob>();
  job->function = function;
  job->context = context;
  job->chunk_size = chunk_size;
  job->anchor.kind = ipc::TaskKind::chunk;
  job->anchor.place = Task::Place::anchor;
  job->anchor.watcher = job.get();
  const Lock lock(mutex_);
  blobs_.use(function);
  blobs_.use(context);
  if (policy != nullptr) {
    job->policy = *policy;
    blobs_.use(policy->retry_on);
    if (policy->deadline_ns != 0) {
      const std::uint64_t when = ipc::now_ns() + policy->deadline_ns;
      job->deadline = agenda_.add(when, {Appointment::What::map_deadline, nullptr, job.get()});
      wake_at(when);
    }
  }
  return job.release();
}

Admission Supervisor::add_items(MapJob& job, std::span<const std::byte> items, std::uint64_t count,
                                bool has_buffers) {
  const Lock lock(mutex_);
  if (closing_) return is_broken() ? Admission::broken : Admission::closed;
  if (count == 0) return Admission::admitted;
  drop_done_items(job);
  std::memcpy(job.items.extend(items.size()), items.data(), items.size());
  job.added += count;
  job.has_buffers |= has_buffers;
  if (!job.counted) {
    job.counted = true;
    ++pending_;
  }
  if (job.expired) {
    end_unbegun(cut_all(job), job.policy->deadline_ns);
  } else if (!job.queued) {
    job.queued = true;
    backlog_.push_back(job.anchor);
  }
  settle();
  return Admission::admitted;
}

// The rest of a map, of which the user has enough to read.
bool Supervisor::is_held_up(const Task& task) const {
  return task.place == Task::Place::anchor &&
         is_unread_enough(*static_cast<const MapJob*>(task.watcher));
}

// Which workers can run it, as far as is known.
Choice Supervisor::choice_for(const Task& task) const {
  if (!lanes_.paired) return Choice::first;
  const std::uint32_t function = task.place == Task::Place::anchor
                                     ? static_cast<const MapJob*>(task.watcher)->function
                                     : task.function;
  return all_unfit_ || blobs_.unfitness(function) != nullptr ? Choice::fallback : Choice::first;
}

// The first in the backlog that nothing but workers is wanted for.
Task* Supervisor::next_to_send() const {
  Task* task = backlog_.front();
  while (task != nullptr && is_held_up(*task)) task = task->next;
  return task;
}

void Supervisor::dispatch() {
  while (Task* task = next_to_send()) {
    const auto rank = scheduler_.assign(
        choice_for(*task), [this](Rank r) { return links_[r]->end().is_asleep(); },
        [this](Rank r) { return running_ns(r, ipc::now_ns()); });
    if (!rank) break;
    if (task->place == Task::Place::anchor) {
      auto& job = *static_cast<MapJob*>(task->watcher);
      task = &cut_segment(job, segment_items(job, target_));
      task->id = ++last_id_;
      if (job.cut == job.added) {
        backlog_.remove(job.anchor);
        job.queued = false;
      }
    } else {
      backlog_.remove(*task);
    }
    if (!send(*task, *rank) && !send_to_idle(*task, *rank)) {
      backlog_.push_front(*task);
      break;
    }
  }
  apply_grants();
}

// An idle worker that can be sent a task: others may have a ring full of tasks that were taken back,
// until they get there.
std::optional<Rank> Supervisor::assign_to_idle(Choice choice) {
  return scheduler_.assign_to_idle(choice,
                                   [this](Rank r) { return links_[r]->has_room(kRoomForATask); });
}

// The ring of `full` has no room.
bool Supervisor::send_to_idle(Task& task, Rank full) {
  scheduler_.withdrawn(full);
  const auto rank = assign_to_idle(choice_for(task));
  if (!rank) return false;
  if (send(task, *rank)) return true;
  scheduler_.withdrawn(*rank);
  return false;
}

bool Supervisor::send(Task& task, Rank rank) {
  WorkerLink& link = *links_[rank];
  if (!link.has_room(kRoomForATask)) return false;
  ipc::BlockRef items{};
  if (task.place == Task::Place::job) {
    auto& segment = static_cast<Segment&>(task);
    const std::size_t size = segment.end - segment.begin;
    const auto block = arguments_.allocate(size);
    if (!block) return false;
    std::memcpy(arguments_.at(block->offset), segment.job->items.data() + segment.begin, size);
    items = {block->offset, size};
  }
  if (task.context != 0 && !link.knows(task.context)) send_blob(link, task.context);
  if (!link.knows(task.function)) send_blob(link, task.function);
  const std::uint32_t judge = judge_of(task);
  if (judge != 0 && !link.knows(judge)) send_blob(link, judge);

  ipc::TaskSlot& slot = link.reserve();
  put_head(slot, task.kind, task.function);
  slot.task = task.id;
  slot.context = task.context;
  slot.format = task.format;
  slot.retry_on = judge;
  const Policy* const policy = policy_of(task);
  if (policy != nullptr && policy->timeout_ns != 0) slot.flags = ipc::kTimed;
  switch (task.place) {
    case Task::Place::block: put_payload(slot, task.block); break;
    case Task::Place::job:
      slot.count = static_cast<Segment&>(task).count;
      task.block = items;
      put_payload(slot, items);
      break;
    default: put_payload(slot, std::span<const std::byte>(task.bytes, task.size));
  }
  if (task.format == ipc::Format::buffers || task.place == Task::Place::job) {
    hold_buffers(link, task);
  }
  link.give_back_buffers();
  link.publish(&task);
  task.rank = rank;
  task.stage.store(Stage::sent, std::memory_order_relaxed);
  if (task.watched) ++link.watched;
  if (policy != nullptr && policy->timeout_ns != 0) note_limit(link, task, *policy);
  touch_busy(link);
  link.end().wake_if_asleep();
  ++link.assigned;
  if (link.assigned == options_.max_tasks_per_worker) dismiss(link, Dismissal::tasks);
  if (!link.to_forget.empty()) send_forgets(link);
  return true;
}

void Supervisor::send_blob(WorkerLink& link, std::uint32_t number) {
  ipc::TaskSlot& slot = link.reserve();
  put_head(slot, ipc::TaskKind::define, number);
  slot.format = ipc::Format::blob;
  put_payload(slot, blobs_.find(number));
  link.publish(nullptr);
  link.set_known(number, true);
}

void Supervisor::send_forgets(WorkerLink& link) {
  // Half the ring stays free for tasks: forgetting has time.
  while (!link.to_forget.empty() && link.has_room(ipc::kRingSlots / 2)) {
    put_head(link.reserve(), ipc::TaskKind::forget, link.to_forget.back());
    link.publish(nullptr);
    link.set_known(link.to_forget.back(), false);
    link.to_forget.pop_back();
  }
}

void Supervisor::send_initializer(WorkerLink& link) {
  if (initializer_.context != 0) send_blob(link, initializer_.context);
  send_blob(link, initializer_.function);
  ipc::TaskSlot& slot = link.reserve();
  put_head(slot, ipc::TaskKind::initialize, initializer_.function);
  slot.task = kInitializerTask;
  slot.context = initializer_.context;
  slot.format = initializer_.format;
  put_payload(slot, initializer_block_);
  link.publish(nullptr);
  link.initializing = true;
  ++initializing_;
  touch_busy(link);
}

// With a worker idle and nothing waiting: a task must not wait in a ring behind a long one.
void Supervisor::move_queued() {
  const bool any_idle = scheduler_.any_idle(Choice::first) || scheduler_.any_idle(Choice::fallback);
  if (!any_idle || !scheduler_.any_queued() || next_to_send() != nullptr) return;
  // Short tasks are worth a look at the clock only now and then.
  if (!look_closely_ && !scheduler_.is_worth_moving()) return;
  look_closely_ = false;
  const std::uint64_t now = ipc::now_ns();
  // A move may free a lane for the other kind.
  bool is_settled = false;
  while (!is_settled) {
    const bool moved = move_queued(Choice::first, now);
    is_settled = !lanes_.paired || (!move_queued(Choice::fallback, now) && !moved);
  }
  apply_grants();
}

// Whether any was moved.
bool Supervisor::move_queued(Choice choice, std::uint64_t now) {
  bool moved = false;
  while (const auto victim =
             scheduler_.victim(choice, [this, now](Rank rank) { return running_ns(rank, now); })) {
    WorkerLink& link = *links_[*victim];
    Task* task = link.take_back_any(WorkerLink::Spare::nothing);
    if (task == nullptr) break;
    took_back(link, *task);
    if (choice_for(*task) != choice) {  // as it has turned out since it was sent
      backlog_.push_front(*task);
      dispatch();
      continue;
    }
    const auto rank = assign_to_idle(choice);
    if (!rank || (!send(*task, *rank) && !send_to_idle(*task, *rank))) {
      backlog_.push_front(*task);
      break;
    }
    moved = true;
  }
  return moved;
}

// For how long the task has run that this worker is at; a hint, for the worker says it.
std::uint64_t Supervisor::running_ns(Rank rank, std::uint64_t now) {
  WorkerLink& link = *links_[rank];
  const Task* oldest = link.oldest();
  const ipc::CurrentView current = link.end().current();
  if (current.state == ipc::WorkerState::none) return now - link.launched_ns;
  if (oldest == nullptr || current.task != oldest->id) return 0;
  return link.ran_ns(current, now);
}

void Supervisor::took_back(WorkerLink& link, Task& task) {
  took_out(link, task);
  task.stage.store(Stage::waiting, std::memory_order_relaxed);
  scheduler_.withdrawn(link.rank);
  if (link.assigned-- == options_.max_tasks_per_worker) readmit(link);
}

// The task is in the ring no more, and will be sent anew.
void Supervisor::took_out(WorkerLink& link, Task& task) {
  left(link, task);
  unhold_buffers(link, task);
  if (task.place == Task::Place::job) arguments_.free(task.block.offset);
}

// A task with a time limit is in the ring now.
void Supervisor::note_limit(WorkerLink& link, Task& task, const Policy& policy) {
  const std::uint64_t now = ipc::now_ns();
  if (task.kind == ipc::TaskKind::chunk) {
    static_cast<Segment&>(task).sent_ns = now;
  } else {
    task.terms->sent_ns = now;
  }
  ++link.timed;
  link.shortest_limit_ns = std::min(link.shortest_limit_ns, policy.timeout_ns);
  wake_at(now + policy.timeout_ns);
}

void Supervisor::apply_grants() {
  for (Rank rank : scheduler_.changed_grants()) {
    if (links_[rank]) {
      links_[rank]->end().set_spin_ns(scheduler_.may_spin(rank) ? options_.spin_ns : 0);
    }
  }
  scheduler_.changed_grants().clear();
}

void Supervisor::touch_busy(WorkerLink& link) {
  if (link.is_busy) return;
  link.is_busy = true;
  busy_.push_back(&link);
}

void Supervisor::stop_link(WorkerLink& link) {
  if (link.state == LinkState::leaving || link.state == LinkState::doomed) return;
  scheduler_.close(link.rank);
  put_head(link.reserve(), ipc::TaskKind::stop);
  link.publish(nullptr);
  link.state = LinkState::leaving;
  link.end().wake_if_asleep();
}

}  // namespace owngil::runtime

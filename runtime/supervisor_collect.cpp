// SPDX-License-Identifier: BSD-3-Clause
// Collect, complete: from a worker's result ring to a task's outcome. What a worker wrote is
// checked here (I3), on a private copy.
#include "ipc/futex.hpp"
#include "ipc/item.hpp"
#include "runtime/growing_bytes.hpp"
#include "runtime/supervisor.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

namespace owngil::runtime {

namespace {

// No task runs longer, as far as averages are concerned.
constexpr std::uint64_t kLongestRunNs = 3'600'000'000'000;

// Of a block of items so much is copied at first, and then as much again: its size is only what the
// worker says, and its end is seldom used.
constexpr std::size_t kCopyBytes = 512 * 1024;

// What is kept of why a function cannot run somewhere; a longer one is left untold.
constexpr std::size_t kLongestReason = 64 * 1024;

std::uint64_t size_of_results(const Segment& segment) {
  return segment.place == Task::Place::heap ? segment.heap.size + segment.heap.buffered : 0;
}

}  // namespace

void Supervisor::collect() {
  for (std::size_t i = 0; i < busy_.size();) {
    WorkerLink& link = *busy_[i];
    collect_from(link);
    if (link.outstanding > 0 || link.initializing) {
      ++i;
      continue;
    }
    link.is_busy = false;
    busy_[i] = busy_.back();
    busy_.pop_back();
    if (link.dismissal != Dismissal::none && may_be_let_go(link)) let_go(link);
  }
}

void Supervisor::collect_from(WorkerLink& link) {
  if (link.state == LinkState::doomed) return;
  while (const ipc::ResultSlot* slot = link.end().front_result()) {
    const ipc::ResultSlot copy = *slot;
    answered_by_ = link.key;
    printed_ = (copy.flags & ipc::kPrinted) != 0;
    const bool accepted = accept(link, copy);
    answered_by_ = 0;
    printed_ = false;
    if (!accepted) {
      make_rogue(link);
      return;
    }
    link.end().pop_result();
    if ((copy.flags & ipc::kLast) != 0) dismiss(link, Dismissal::memory);
  }
  if (!link.buffers.empty() && !take_returns(link)) make_rogue(link);
}

bool Supervisor::accept(WorkerLink& link, const ipc::ResultSlot& slot) {
  if (slot.task == kInitializerTask) return accept_initializer(link, slot);
  Task* task = link.oldest();
  if (task == nullptr || task->id != slot.task || task->position != slot.position) return false;
  link.pop_oldest();
  left(link, *task);
  const std::uint64_t run_ns = std::min(slot.run_ns, kLongestRunNs);
  link.ended_ns = slot.ended_ns;
  if (slot.status == ipc::Status::refused) {
    scheduler_.came_up(link.rank);
    scheduler_.withdrawn(link.rank);
  } else {
    scheduler_.completed(link.rank, run_ns);
  }
  Seat& seat = seats_[link.rank];
  seat.busy_ns += run_ns;
  if (link.sentence.task == task) link.sentence = {};
  if (task->terms != nullptr && task->terms->verdict != Ending::none) {
    return accept_sentenced(link, slot, *task);
  }
  if (slot.status == ipc::Status::refused) return accept_refused(link, slot, *task);
  if (task->kind == ipc::TaskKind::chunk) {
    auto& segment = static_cast<Segment&>(*task);
    seat.tasks_done += std::min(slot.count, segment.count);
    if (is_part(link, slot, segment)) return accept_part(link, slot, segment);
    const std::uint64_t each = std::max<std::uint64_t>(run_ns / segment.count, 1);
    // The first call in a worker loads the function: believe later ones more.
    MapJob& job = *segment.job;
    job.item_ns = job.item_ns == 0 ? each : (3 * each + job.item_ns) / 4;
  } else {
    ++seat.tasks_done;
    if (slot.status == ipc::Status::raised) {
      const bool unfit = is_unfit(link, slot);
      if (unfit && !learn_unfitness(link, slot, *task)) return end_by_nonsense(link, *task);
      const bool again = unfit ? may_run_again(*task)
                               : (slot.flags & ipc::kRetryable) != 0 && judge_of(*task) != 0;
      if (again) return rest_raised(link, slot, *task) || end_by_nonsense(link, *task);
    }
  }
  std::optional<Ending> ending;
  try {
    ending = take_outcome(link, slot, *task);
  } catch (const std::bad_alloc&) {
    free_payload(*task);
    ending = Ending::no_memory;
  }
  if (!ending) return end_by_nonsense(link, *task);
  if (*ending == Ending::returned && task->kind == ipc::TaskKind::chunk) {
    complete_done(static_cast<Segment&>(*task));
  } else {
    complete(*task, *ending);
  }
  return true;
}

// The worker was at this task when it wrote what makes no sense; the caller ends it for that.
bool Supervisor::end_by_nonsense(WorkerLink& link, Task& task) {
  link.killed_for_task = true;
  Failure failure = failure_of(link);
  failure.protocol = true;
  if (task.kind == ipc::TaskKind::chunk) {
    free_items(static_cast<Segment&>(task));
    part_at(static_cast<Segment&>(task), 0, {nullptr, 0}, &failure, &link);
  } else {
    end_begun(task, failure, &link);
  }
  return false;
}

// An answer for a task whose end was certain before: only of a chunk do its first items count.
bool Supervisor::accept_sentenced(WorkerLink& link, const ipc::ResultSlot& slot, Task& task) {
  Failure failure = failure_of(link);
  failure.ran_ns = std::min(slot.run_ns, kLongestRunNs);
  if (task.kind != ipc::TaskKind::chunk) {
    if (!drop_payload(link, slot)) return end_by_nonsense(link, task);
    end_begun(task, failure, nullptr);
    return true;
  }
  auto& segment = static_cast<Segment&>(task);
  HeapBytes items{nullptr, 0};
  std::uint32_t done = 0;
  if (slot.status == ipc::Status::chunk) {
    done = slot.count;
    if (done > segment.count || slot.where != ipc::Where::block ||
        !take_chain(link, slot.block, done, items)) {
      return end_by_nonsense(link, task);
    }
  } else if (!drop_payload(link, slot)) {
    return end_by_nonsense(link, task);
  }
  const std::uint32_t in_time = std::min(done, task.terms->item);
  free_items(segment);
  if (in_time < done) let_go_of_items(items, in_time);
  if (in_time == 0) std::free(std::exchange(items, {nullptr, 0}).data);
  keep_first(items, in_time);
  part_at(segment, in_time, items, &failure, nullptr);
  return true;
}

bool Supervisor::is_part(const WorkerLink& link, const ipc::ResultSlot& slot,
                         const Segment& segment) {
  if (slot.status != ipc::Status::chunk || slot.where != ipc::Where::block) return false;
  return is_unfit(link, slot) ? slot.count <= segment.count
                              : slot.count < segment.count && link.ordered_stop == segment.id;
}

// A chunk that was told to stop, because an item seemed late that then was not, or that turned out
// to be none for this kind of worker: the rest waits again.
bool Supervisor::accept_part(WorkerLink& link, const ipc::ResultSlot& slot, Segment& segment) {
  HeapBytes items{nullptr, 0};
  if (!take_chain(link, slot.block, slot.count, items)) return end_by_nonsense(link, segment);
  free_items(segment);
  const bool unfit = is_unfit(link, slot);
  if (unfit) set_unfit(segment.function, unfitness_in(items, slot.count));
  if (slot.count == 0) std::free(std::exchange(items, {nullptr, 0}).data);
  part_at(segment, slot.count, items, nullptr, nullptr, unfit);
  return true;
}

bool Supervisor::is_unfit(const WorkerLink& link, const ipc::ResultSlot& slot) {
  return link.may_refuse && (slot.flags & ipc::kUnfit) != 0;
}

// This kind of worker cannot run it, and has not begun it: it waits again, for those that can.
bool Supervisor::accept_refused(WorkerLink& link, const ipc::ResultSlot& slot, Task& task) {
  if (!link.may_refuse || !learn_unfitness(link, slot, task)) return end_by_nonsense(link, task);
  if (task.kind == ipc::TaskKind::chunk) {
    free_items(static_cast<Segment&>(task));
    leave_unbegun(static_cast<Segment&>(task));
  } else {
    task.id = ++last_id_;
    task.stage.store(Stage::waiting, std::memory_order_relaxed);
    backlog_.push_front(task);
  }
  if (ending_) cancel_all_that_waits();
  return true;
}

// False: the worker wrote nonsense.
bool Supervisor::learn_unfitness(WorkerLink& link, const ipc::ResultSlot& slot, const Task& task) {
  const auto payload = payload_of(link, slot);
  if (!payload) return false;
  if (slot.status != ipc::Status::refused) {
    set_unfit(task.function, {slot.format, {payload->begin(), payload->end()}});
    return true;  // the payload is the outcome's still
  }
  if (slot.where != ipc::Where::inline_bytes) return false;
  set_unfit(task.function, {ipc::Format::none, {payload->begin(), payload->end()}});
  return true;
}

// What the last of some items has raised.
Unfitness Supervisor::unfitness_in(const HeapBytes& items, std::uint32_t count) {
  std::span<const std::byte> rest(items.data, items.size);
  Unfitness found{ipc::Format::none, {}};
  for (; count > 0; --count) {
    const ipc::Item item = *ipc::read_item(rest);  // take_chain looked
    if (count == 1 && item.status == ipc::Status::raised) {
      const auto bytes = rest.subspan(item.head, item.size);
      found = {item.format, {bytes.begin(), bytes.end()}};
    }
    rest = rest.subspan(item.end());
  }
  return found;
}

void Supervisor::set_unfit(std::uint32_t function, Unfitness why) {
  if (why.bytes.size() > kLongestReason) why = {ipc::Format::none, {}};
  blobs_.set_unfit(function, std::move(why));
  use_fallback();
}

// From now on there are seats of the fallback to be filled.
void Supervisor::use_fallback() {
  if (std::exchange(uses_fallback_, true)) return;
  count_vacant();
}

// The task is not outstanding there any more.
void Supervisor::left(WorkerLink& link, const Task& task) {
  if (task.watched) --link.watched;
  const Policy* const policy = policy_of(task);
  if (policy != nullptr && policy->timeout_ns != 0 && --link.timed == 0) {
    link.shortest_limit_ns = ipc::kForever;
  }
}

// Nothing: the worker wrote nonsense.
std::optional<Ending> Supervisor::take_outcome(WorkerLink& link, const ipc::ResultSlot& slot,
                                               Task& task) {
  switch (slot.status) {
    case ipc::Status::returned:
      if (task.kind == ipc::TaskKind::chunk || !take_payload(link, slot, task)) return {};
      return Ending::returned;
    case ipc::Status::raised:
      if (!take_payload(link, slot, task)) return {};
      return Ending::raised;
    case ipc::Status::chunk:
    case ipc::Status::refused: break;
  }
  if (slot.status != ipc::Status::chunk || task.kind != ipc::TaskKind::chunk) return {};
  if (slot.count != static_cast<Segment&>(task).count || slot.where != ipc::Where::block) return {};
  HeapBytes items;
  if (!take_chain(link, slot.block, slot.count, items)) return {};
  free_payload(task);
  task.heap = items;
  task.place = Task::Place::heap;
  return Ending::returned;
}

bool Supervisor::accept_initializer(WorkerLink& link, const ipc::ResultSlot& slot) {
  if (!link.initializing) return false;
  link.initializing = false;
  --initializing_;
  scheduler_.came_up(link.rank);
  if (slot.status == ipc::Status::returned) return true;
  if (slot.status == ipc::Status::refused) {
    const auto payload = payload_of(link, slot);
    if (!link.may_refuse || !payload || slot.where != ipc::Where::inline_bytes) return false;
    if (!all_unfit_) all_unfit_ = {ipc::Format::none, {payload->begin(), payload->end()}};
    use_fallback();
    return true;
  }
  if (slot.status != ipc::Status::raised) return false;
  Task failure;
  if (!take_payload(link, slot, failure)) return false;
  const std::byte* data = failure.place == Task::Place::heap ? failure.heap.data : failure.bytes;
  const std::size_t size = failure.place == Task::Place::heap ? failure.heap.size : failure.size;
  std::vector<std::byte> bytes(data, data + size);
  if (failure.place == Task::Place::heap) std::free(failure.heap.data);
  // The pool breaks once the worker has left in order: what it has logged is on its way.
  link.failure = std::move(bytes);
  scheduler_.close(link.rank);
  return true;
}

// The bytes of a result; nothing: it says where they are, and they are not there.
std::optional<std::span<const std::byte>> Supervisor::payload_of(const WorkerLink& link,
                                                                 const ipc::ResultSlot& slot) {
  if (slot.where == ipc::Where::inline_bytes) {
    if (slot.size > ipc::kInlineBytes) return std::nullopt;
    return std::span(slot.bytes, slot.size);
  }
  const std::byte* const data = link.result_block(slot.block);
  if (slot.where != ipc::Where::block || data == nullptr || slot.block.size == 0) {
    return std::nullopt;
  }
  return std::span(data, slot.block.size);
}

bool Supervisor::drop_payload(WorkerLink& link, const ipc::ResultSlot& slot) {
  const auto payload = payload_of(link, slot);
  if (!payload) return false;
  if (slot.format == ipc::Format::buffers) {
    HeapBytes bytes = heap_copy(payload->data(), payload->size());
    const bool taken = take_buffers(link, bytes);
    if (taken) let_go_of_list(bytes);
    std::free(bytes.data);
    if (!taken) return false;
  }
  if (slot.where == ipc::Where::block) link.release(slot.block.offset);
  return true;
}

bool Supervisor::take_payload(WorkerLink& link, const ipc::ResultSlot& slot, Task& task) {
  const auto payload = payload_of(link, slot);
  if (!payload) return false;
  if (slot.where == ipc::Where::inline_bytes && slot.format != ipc::Format::buffers) {
    free_payload(task);
    task.place = Task::Place::inline_bytes;
    task.size = slot.size;
    if (slot.size != 0) std::memcpy(task.bytes, payload->data(), slot.size);
  } else {
    HeapBytes bytes = heap_copy(payload->data(), payload->size());
    if (slot.format == ipc::Format::buffers &&
        (slot.status != ipc::Status::returned || !take_buffers(link, bytes))) {
      std::free(bytes.data);
      return false;
    }
    if (slot.where == ipc::Where::block) link.release(slot.block.offset);
    free_payload(task);
    task.place = Task::Place::heap;
    task.heap = bytes;
  }
  task.format = slot.format;
  return true;
}

// Copies `count` results out of the chain of blocks that starts at `head`. False: it is not one.
bool Supervisor::take_chain(WorkerLink& link, ipc::BlockRef head, std::uint64_t count,
                            HeapBytes& items) {
  const std::uint64_t all = count;
  std::size_t possible = 0;
  bool has_buffers = false;
  GrowingBytes items_copied;
  std::vector<std::uint64_t> blocks;
  ipc::BlockRef block = head;
  while (true) {
    const std::byte* data = link.result_block(block);
    if (data == nullptr || block.size < sizeof(ipc::ChainHeader)) return false;
    // A chain that bites its own tail would never end. All blocks but the first hold an item.
    if (blocks.size() > all) return false;
    blocks.push_back(block.offset);
    ipc::ChainHeader chain;
    std::memcpy(&chain, data, sizeof chain);
    const std::size_t room = block.size - sizeof chain;
    const std::size_t begin = items_copied.size();
    std::size_t end = begin;  // of what was looked at
    while (count > 0) {
      const std::span<const std::byte> rest(items_copied.data() + end, items_copied.size() - end);
      if (!rest.empty() && ipc::is_marked(rest[0], ipc::ItemMark::next_block)) break;
      if (const std::optional<ipc::Item> item = ipc::read_item(rest)) {
        end += item->end();
        has_buffers |= item->format == ipc::Format::buffers;
        --count;
        continue;
      }
      const std::size_t copied = items_copied.size() - begin;
      const std::size_t more = std::min(room - copied, std::max(copied, kCopyBytes));
      if (more == 0) return false;
      if (const std::size_t all_of_it = items_copied.size() + more; all_of_it > possible) {
        if (!link.can_hold(all_of_it)) return false;  // blocks that overlap could ask for any size
        possible = 2 * all_of_it;
      }
      std::memcpy(items_copied.extend(more), data + sizeof chain + copied, more);
    }
    items_copied.drop_back(items_copied.size() - end);
    if (count == 0) break;
    block = chain.next;
  }
  HeapBytes copied = items_copied.take();
  if (has_buffers && !take_item_buffers(link, copied)) {
    std::free(copied.data);
    return false;
  }
  for (std::uint64_t offset : blocks) link.release(offset);
  items = copied;
  return true;
}

void Supervisor::make_rogue(WorkerLink& link) {
  link.state = LinkState::doomed;
  link.broke_protocol = true;
  scheduler_.close(link.rank);
  launcher_->kill(link.key);
}

void Supervisor::complete(Task& task, Ending ending) {
  task.ending = ending;
  const bool has_failed = task.place == Task::Place::failure;
  task.answered_by = has_failed ? task.failure->worker_key : answered_by_;
  task.printed = has_failed || printed_;
  if (task.kind == ipc::TaskKind::chunk) {
    finish_segment(static_cast<Segment&>(task));
    return;
  }
  drop_blob_use(task.function);
  drop_blob_use(task.context);
  if (task.terms != nullptr) {
    drop_blob_use(task.terms->policy.retry_on);
    if (task.terms->deadline) agenda_.remove(*std::exchange(task.terms->deadline, std::nullopt));
  }
  --pending_;
  task.stage.store(Stage::complete, std::memory_order_release);
  if (task.watched) {
    --watched_;
    {
      const std::lock_guard lock(completions_mutex_);
      completions_.push_back(task.watcher);
    }
    completions_ready_.notify_one();
  }
  if (task.waited) wake_waiters_of(task);
  if (pending_ == 0 && waiting_for_room_ > 0) wake_for_room();
  if (!task.handle) reuse(task);
}

void Supervisor::drop_blob_use(std::uint32_t number) {
  if (!blobs_.done_with(number)) return;
  for (const auto& link : links_) {
    if (link && link->knows(number)) link->to_forget.push_back(number);
  }
}

void Supervisor::free_payload(Task& task) {
  if (task.format == ipc::Format::buffers) drop_argument_buffers(task);
  if (task.place == Task::Place::block) arguments_.free(task.block.offset);
  if (task.place == Task::Place::job && task.stage.load(std::memory_order_relaxed) == Stage::sent) {
    arguments_.free(task.block.offset);
  }
  if (task.place == Task::Place::heap) free_heap(task);
  if (task.place == Task::Place::failure) delete task.failure;
  task.place = Task::Place::inline_bytes;
  task.size = 0;
}

// A chunk that was sent lies in the arena no more; what is left of it will be sent anew.
void Supervisor::free_items(Segment& segment) {
  arguments_.free(segment.block.offset);
  segment.stage.store(Stage::waiting, std::memory_order_relaxed);
}

// Puts the failure where the payload was.
void Supervisor::fail(Task& task, Failure failure) {
  name(task, failure);
  free_payload(task);
  task.failure = new Failure(std::move(failure));
  task.place = Task::Place::failure;
}

// Says whose failure it is.
void Supervisor::name(const Task& task, Failure& failure) const {
  failure.task = task.id;
  failure.task_name = blobs_.name(task.function);
}

void Supervisor::finish_segment(Segment& segment) {
  MapJob& job = *segment.job;
  if (job.has_buffers) drop_buffers_of_items(segment);
  --job.live;
  job.unread += size_of_results(segment);
  segment.stage.store(Stage::complete, std::memory_order_release);
  if (job.waited && job.first == &segment) wake_waiters_of(segment);
  if (job.is_finished()) finish_job(job);
}

// Nothing of it is left to run; more items may come if somebody still holds it.
void Supervisor::finish_job(MapJob& job) {
  if (job.counted) {
    job.counted = false;
    if (--pending_ == 0 && waiting_for_room_ > 0) wake_for_room();
  }
  if (job.handle) return;
  while (Segment* segment = job.first) {
    job.first = segment->following;
    free_payload(*segment);
    delete segment;
  }
  drop_blob_use(job.function);
  drop_blob_use(job.context);
  if (job.policy) drop_blob_use(job.policy->retry_on);
  delete &job;
}

void Supervisor::forget(Task& task) {
  const Lock lock(mutex_);
  task.handle = false;
  if (task.is_complete()) reuse(task);
}

void Supervisor::reuse(Task& task) {
  free_payload(task);
  delete task.terms;
  store_.give_back(task);
}

bool Supervisor::poll(Task& task) {
  if (task.is_complete()) return true;
  const Lock lock(mutex_);
  settle();
  return task.is_complete();
}

bool Supervisor::is_running(Task& task) {
  const Lock lock(mutex_);
  settle();
  return task.stage.load(std::memory_order_relaxed) == Stage::sent &&
         links_[task.rank]->end().is_claimed(task.position);
}

bool Supervisor::watch(Task& task, void* watcher) {
  const Lock lock(mutex_);
  if (task.is_complete()) return false;
  task.watched = true;
  task.watcher = watcher;
  ++watched_;
  if (task.stage.load(std::memory_order_relaxed) == Stage::sent) ++links_[task.rank]->watched;
  settle();
  return true;
}

bool Supervisor::next_completions(std::vector<void*>& watchers) {
  std::unique_lock lock(completions_mutex_);
  completions_ready_.wait(lock, [this] { return !completions_.empty() || completions_closed_; });
  watchers.insert(watchers.end(), completions_.begin(), completions_.end());
  const bool some = !completions_.empty();
  completions_.clear();
  return some;
}

void Supervisor::close_completions() {
  {
    const std::lock_guard lock(completions_mutex_);
    completions_closed_ = true;
  }
  completions_ready_.notify_all();
}

Segment* Supervisor::ready_segment(MapJob& job) {
  const Lock lock(mutex_);
  if (job.first == nullptr || !job.first->is_complete()) settle();
  return job.first != nullptr && job.first->is_complete() ? job.first : nullptr;
}

void Supervisor::consume_segment(MapJob& job) {
  const Lock lock(mutex_);
  Segment* segment = job.first;
  job.first = segment->following;
  if (job.first == nullptr) job.last = nullptr;
  const bool had_enough = job.queued && job.unread > options_.arena_limit / 2;
  job.unread -= size_of_results(*segment);
  free_payload(*segment);
  delete segment;
  if (had_enough) settle();
}

void Supervisor::close_map(MapJob& job) {
  const Lock lock(mutex_);
  job.handle = false;
  if (job.queued) {
    backlog_.remove(job.anchor);
    job.queued = false;
  }
  if (job.deadline) agenda_.remove(*std::exchange(job.deadline, std::nullopt));
  job.cut = job.added;
  ++job.live;  // until all of them have been told
  std::vector<Segment*> open;
  for (Segment* segment = job.first; segment != nullptr; segment = segment->following) {
    if (!segment->is_complete()) open.push_back(segment);
  }
  for (Segment* segment : open) {
    if (segment->is_complete()) continue;  // with another that shared its worker
    if (segment->stage.load(std::memory_order_relaxed) == Stage::sent) {
      WorkerLink& link = *links_[segment->rank];
      if (!link.take_back(*segment)) {
        if (job.policy && job.policy->cancel_running) {
          sentence(link, *segment, Ending::cancelled, job.policy->grace_ns);
        }
        continue;
      }
      took_back(link, *segment);
    } else {
      withdraw(*segment);
    }
    segment->place = Task::Place::inline_bytes;
    complete(*segment, Ending::cancelled);
  }
  --job.live;
  if (job.is_finished()) finish_job(job);
  settle();
}

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// How a task that had begun ends: for good, or to run again.
#include "ipc/clock.hpp"
#include "ipc/item.hpp"
#include "runtime/growing_bytes.hpp"
#include "runtime/supervisor.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace owngil::runtime {

namespace {

constexpr std::uint64_t kLongestBackoffNs = 3'600'000'000'000;

std::uint64_t backoff_ns(const Policy& policy, std::size_t retries_before) {
  std::uint64_t backoff = policy.backoff_ns;
  for (; retries_before > 0 && backoff < kLongestBackoffNs; --retries_before) backoff *= 2;
  return std::min(backoff, kLongestBackoffNs);
}

}  // namespace

// A run that ended for another's sake does not count: the other one's runs are limited.
bool Supervisor::may_run_again(const Task& task, Collateral collateral) const {
  const Policy* const policy = policy_of(task);
  if (policy == nullptr || is_broken() || ending_) return false;
  if (task.kind == ipc::TaskKind::chunk && static_cast<const Segment&>(task).job->expired) {
    return false;
  }
  const bool counts = collateral != Collateral::yes;
  return (counts && task.terms != nullptr ? task.terms->attempts.size() : 0) < policy->retries;
}

// The blob with which its worker tells whether an exception is worth another run; 0: none is.
std::uint32_t Supervisor::judge_of(const Task& task) const {
  const Policy* const policy = policy_of(task);
  return policy != nullptr && policy->retry_on != 0 && may_run_again(task) ? policy->retry_on : 0;
}

// How a task ends that had begun and has no result: its worker was killed or has died, or answered
// when it was sentenced. `until_gone`: a worker that may still be at it.
void Supervisor::end_begun(Task& task, Failure failure, WorkerLink* until_gone) {
  const Policy* const policy = policy_of(task);
  const Ending verdict = task.terms != nullptr ? task.terms->verdict : Ending::none;
  const bool cancelled =
      verdict == Ending::cancelled ||
      (task.kind == ipc::TaskKind::chunk && !static_cast<const Segment&>(task).job->handle);
  if (cancelled) {
    free_payload(task);
    complete(task, Ending::cancelled);
    return;
  }
  const Ending ending = verdict == Ending::none ? Ending::died : verdict;
  if (ending == Ending::timed_out) tell_limit(task, failure);
  const bool wanted = ending == Ending::died ? policy != nullptr && policy->retry_died
                                             : policy->retry_timed_out && !failure.of_deadline;
  if (wanted && may_run_again(task, failure.collateral)) {
    name(task, failure);
    rest(task, {.ending = ending, .failure = std::move(failure)}, until_gone);
    return;
  }
  fail(task, std::move(failure));
  complete(task, ending);
}

// Which limit it was that has passed.
void Supervisor::tell_limit(const Task& task, Failure& failure) const {
  const Policy& policy = *policy_of(task);
  const bool expired = task.kind == ipc::TaskKind::chunk
                           ? static_cast<const Segment&>(task).job->expired
                           : policy.deadline_ns != 0 && !task.terms->deadline;
  failure.of_deadline = expired;
  failure.limit_ns = expired ? policy.deadline_ns : policy.timeout_ns;
}

// Keeps what a run has raised and lets the task rest. False: the worker wrote nonsense.
bool Supervisor::rest_raised(WorkerLink& link, const ipc::ResultSlot& slot, Task& task) {
  const std::byte* data = slot.bytes;
  std::size_t size = slot.size;
  if (slot.where == ipc::Where::block) {
    data = link.result_block(slot.block);
    size = slot.block.size;
    if (data == nullptr) return false;
  } else if (size > ipc::kInlineBytes) {
    return false;
  }
  Attempt attempt{.ending = Ending::raised, .format = slot.format, .payload = {data, data + size}};
  if (slot.where == ipc::Where::block) link.release(slot.block.offset);
  rest(task, std::move(attempt), nullptr);
  return true;
}

// The task has run in vain and will run again: after its back-off, and once `until_gone`, if there
// is one, has no process any more. Requires: it is in no link's ring.
void Supervisor::rest(Task& task, Attempt attempt, WorkerLink* until_gone) {
  Terms& terms = terms_of(task);
  const std::uint64_t backoff = backoff_ns(*policy_of(task), terms.attempts.size());
  terms.not_before_ns = backoff == 0 ? 0 : ipc::now_ns() + backoff;
  const bool counts = !attempt.failure || attempt.failure->collateral != Collateral::yes;
  if (counts) terms.attempts.push_back(std::move(attempt));
  terms.verdict = Ending::none;
  task.id = ++last_id_;  // what was ordered for the run before does not hold for this one
  task.stage.store(Stage::resting, std::memory_order_relaxed);
  if (until_gone != nullptr) {
    until_gone->after_death.push_back(&task);
  } else {
    end_rest(task);
  }
}

void Supervisor::end_rest(Task& task) {
  Terms* const terms = task.terms;
  if (terms != nullptr && terms->retry) {
    agenda_.remove(*terms->retry);
    terms->retry.reset();
  }
  if (terms != nullptr && terms->not_before_ns > ipc::now_ns()) {
    terms->retry = agenda_.add(terms->not_before_ns, {Appointment::What::retry, &task, nullptr});
    wake_at(terms->not_before_ns);
    return;
  }
  task.stage.store(Stage::waiting, std::memory_order_relaxed);
  backlog_.push_front(task);
}

// Ends all that rests.
void Supervisor::end_resting(Ending ending) {
  std::vector<Task*> resting;
  agenda_.for_each([&resting](const Appointment& appointment) {
    if (appointment.what == Appointment::What::retry) resting.push_back(appointment.task);
  });
  for (const auto& link : links_) {
    if (link) resting.insert(resting.end(), link->after_death.begin(), link->after_death.end());
  }
  for (Task* task : resting) {
    withdraw(*task);
    free_payload(*task);
    complete(*task, ending);
  }
}

// --- chunks

// A chunk whose worker was killed or has died: keeps what was done, ends the item that it was at,
// and lets the rest wait again.
void Supervisor::part_segment(WorkerLink& link, Segment& segment, const ipc::CurrentView& current,
                              const Failure& failure, WorkerLink* until_gone) {
  free_items(segment);
  if (segment.id != current.task) {
    leave_unbegun(segment);
    return;
  }
  std::uint64_t done = link.broke_protocol ? 0 : current.progress;
  HeapBytes items{nullptr, 0};
  if (done > segment.count || (done > 0 && !take_chain(link, current.chain, done, items))) {
    done = 0;
  }
  part_at(segment, static_cast<std::uint32_t>(done), items, &failure, until_gone);
}

// The first `done` items have the results `items`; the one behind them has failed if there is a
// `failure`; the rest has not begun.
void Supervisor::part_at(Segment& segment, std::uint32_t done, HeapBytes items,
                         const Failure* failure, WorkerLink* until_gone, bool unfit) {
  MapJob& job = *segment.job;
  ++job.live;  // until the last part has found its place
  Segment* behind = &segment;
  if (done > 0) {
    behind = done < segment.count ? &split_segment(segment, done) : nullptr;
    segment.place = Task::Place::heap;
    segment.heap = items;
  }
  if (failure != nullptr && behind != nullptr) {
    Segment& guilty = *behind;
    behind = guilty.count > 1 ? &split_segment(guilty, 1) : nullptr;
    if (&guilty != &segment) std::swap(guilty.terms, segment.terms);
    end_begun(guilty, *failure, until_gone);
  }
  if (behind != nullptr) leave_unbegun(*behind);
  if (done > 0) complete_done(segment, unfit);
  --job.live;
  if (job.is_finished()) finish_job(job);
}

// A chunk, or a part of one, that never began: it waits again, unless nothing of its map is to
// begin any more.
void Supervisor::leave_unbegun(Segment& segment) {
  const MapJob& job = *segment.job;
  if (segment.terms != nullptr) segment.terms->verdict = Ending::none;
  if (!job.handle) {
    complete(segment, Ending::cancelled);
  } else if (job.expired) {
    end_unbegun(segment, job.policy->deadline_ns);
  } else {
    segment.id = ++last_id_;
    segment.stage.store(Stage::waiting, std::memory_order_relaxed);
    backlog_.push_front(segment);
  }
}

// A chunk with its results: items that raised what is worth another run leave it, and rest. `unfit`:
// so does one that its worker could not run, whatever it has raised.
void Supervisor::complete_done(Segment& segment, bool unfit) {
  if (judge_of(segment) == 0 && !(unfit && may_run_again(segment))) {
    complete(segment, Ending::returned);
    return;
  }
  MapJob& job = *segment.job;
  ++job.live;
  const HeapBytes results = segment.heap;
  const auto keep = [this, &results](Segment& part, const std::byte* begin, std::size_t size) {
    part.place = Task::Place::heap;
    part.heap = heap_copy(begin, size);
    part.heap.arena = results.arena;
    complete(part, Ending::returned);
  };
  Segment* part = &segment;
  std::uint32_t passed = 0;  // items at the head of `part` that stay
  const std::byte* begin = results.data;
  const std::byte* at = begin;
  for (std::uint32_t left = segment.count; left > 0; --left) {
    const ipc::Item item = *ipc::read_item({at, results.data + results.size});  // take_chain looked
    const std::byte* const bytes = at + item.head;
    const std::byte* const next = at + item.end();
    if (item.status != ipc::Status::raised || (item.flags & ipc::kRetryable) == 0) {
      ++passed;
      at = next;
      continue;
    }
    Segment& again = passed > 0 ? split_segment(*part, passed) : *part;
    Segment* const rest_of_it = again.count > 1 ? &split_segment(again, 1) : nullptr;
    if (passed > 0) keep(*part, begin, static_cast<std::size_t>(at - begin));
    again.place = Task::Place::job;
    rest(again, {.ending = Ending::raised, .format = item.format, .payload = {bytes, next}},
         nullptr);
    part = rest_of_it;
    passed = 0;
    begin = at = next;
  }
  if (part != nullptr) keep(*part, begin, static_cast<std::size_t>(at - begin));
  std::free(results.data);
  --job.live;
  if (job.is_finished()) finish_job(job);
}

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// Ends tasks that run: because a limit has passed, or because somebody said so.
//
// A task that has begun is sentenced: from then on it is certain how it ends, whatever its worker
// still answers. The worker gets some time to end it by itself (the user's grace, or as long as it
// takes to ask where it is); then it is killed, and the task is complete at once. What is to run
// again waits until the kernel says that the process is gone.
#include "ipc/clock.hpp"
#include "ipc/futex.hpp"
#include "ipc/interrupt_signal.hpp"
#include "ipc/stack_signal.hpp"
#include "runtime/supervisor.hpp"

#include <algorithm>
#include <utility>

namespace owngil::runtime {

namespace {

// The signal that interrupts a task is sent again at growing distances: it may have come while
// the task was being decoded, or what it raised may have been swallowed.
constexpr std::uint64_t kFirstSignalGapNs = 1'000'000;
constexpr std::uint64_t kLongestSignalGapNs = 50'000'000;

// A worker that can say where it is does so in a fraction of a millisecond, once it gets a CPU.
constexpr std::uint64_t kStackPatienceNs = 20'000'000;
constexpr std::uint64_t kStackPollNs = 500'000;

// Where others would die with it, a task whose limit has passed is told to stop first: what is
// written in Python does so within a millisecond, once it gets a CPU. A task that does not costs its
// future so much time, and its host, which is worse, is not killed because a CPU was busy.
constexpr std::uint64_t kSparingNs = 200'000'000;

}  // namespace

const Policy* Supervisor::policy_of(const Task& task) {
  if (task.kind == ipc::TaskKind::chunk) {
    const auto& policy = static_cast<const Segment&>(task).job->policy;
    return policy ? &*policy : nullptr;
  }
  return task.terms != nullptr ? &task.terms->policy : nullptr;
}

Terms& Supervisor::terms_of(Task& task) {
  if (task.terms == nullptr) task.terms = new Terms;
  return *task.terms;
}

// --- the one timer

// Sees to it that on_timer is called no later than this.
void Supervisor::wake_at(std::uint64_t when_ns) {
  if (alarm_ns_ <= when_ns) return;
  alarm_ns_ = when_ns;
  const std::uint64_t now = ipc::now_ns();
  launcher_->call_after(when_ns > now ? when_ns - now : 0);
}

void Supervisor::on_timer() {
  const Lock lock(mutex_);
  alarm_ns_ = ipc::kForever;
  recheck_armed_ = false;
  look_closely_ = true;
  collect();  // who has answered in time is not late because we are
  wake_workers();
  const std::uint64_t now = ipc::now_ns();
  while (const Appointment* due = agenda_.due(now)) {
    switch (const Appointment appointment = *due; appointment.what) {
      case Appointment::What::retry: end_rest(*appointment.task); break;
      case Appointment::What::deadline: expire(*appointment.task); break;
      case Appointment::What::map_deadline: expire(*appointment.map); break;
    }
  }
  for (const auto& link : links_) {
    if (link) wake_at(watch(*link, now));
  }
  if (idle_due_ns_ != ipc::kForever) dismiss_idle(now);
  give_spare_back(now);
  settle();
  if (const auto next = agenda_.next_ns()) wake_at(*next);
}

// Enforces the limits of what runs there. Returns when to look again, ipc::kForever: there is no
// need to.
std::uint64_t Supervisor::watch(WorkerLink& link, std::uint64_t now) {
  if (link.state == LinkState::doomed) return ipc::kForever;
  if (link.sentence.task == nullptr) {
    Task* const task = link.timed != 0 ? link.oldest() : nullptr;
    if (task == nullptr) return ipc::kForever;
    // What is queued there begins later than now, if it has not begun unseen.
    const std::uint64_t others = now + link.shortest_limit_ns;
    const Policy* const policy = policy_of(*task);
    if (policy == nullptr || policy->timeout_ns == 0) return others;
    const auto limit = passes_at(link, *task, policy->timeout_ns);
    if (!limit) return others;
    if (limit->when_ns > now) return std::min(limit->when_ns, others);
    time_out(link, *task, *policy, limit->item);
    if (link.sentence.task == nullptr) return others;
  }
  Sentence& sentence = link.sentence;
  if (sentence.kill_at_ns <= now) {
    if (waits_for_stack(link, now)) return now + kStackPollNs;
    doom(link);
    return ipc::kForever;
  }
  if (sentence.signal_gap_ns == 0) return sentence.kill_at_ns;
  if (sentence.signal_at_ns <= now) {
    launcher_->signal(link.key, ipc::interrupt_signal());
    sentence.signal_at_ns = now + sentence.signal_gap_ns;
    sentence.signal_gap_ns = std::min(2 * sentence.signal_gap_ns, kLongestSignalGapNs);
  }
  return std::min(sentence.kill_at_ns, sentence.signal_at_ns);
}

// Who is late has to show where it is, before it is too late. True: it may yet.
bool Supervisor::waits_for_stack(WorkerLink& link, std::uint64_t now) {
  Sentence& sentence = link.sentence;
  if (sentence.task->terms->verdict != Ending::timed_out) return false;
  if (sentence.asked_at_ns == 0) {
    sentence.asked_at_ns = now;
    link.expect_stack();
    launcher_->signal(link.key, ipc::stack_signal());
    return true;
  }
  return now - sentence.asked_at_ns < kStackPatienceNs && !link.answered_stack(sentence.task->id);
}

// When the limit of the task passes, or of the item that runs. Nothing: it has not begun.
std::optional<Supervisor::Limit> Supervisor::passes_at(WorkerLink& link, const Task& task,
                                                       std::uint64_t timeout_ns) {
  const ipc::CurrentView current = link.end().current();
  if (current.task != task.id) return std::nullopt;
  std::uint64_t begun_ns = current.begun_ns;
  std::uint32_t item = 0;
  if (task.kind == ipc::TaskKind::chunk) {
    if (begun_ns == 0) return std::nullopt;  // between two items
    // The time that was read belongs to this item if it was still the same afterwards.
    if (link.end().current().progress != current.progress) return std::nullopt;
    item = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(current.progress, static_cast<const Segment&>(task).count - 1));
  }
  // The worker says it, and may say nonsense.
  const std::uint64_t sent_ns = task.kind == ipc::TaskKind::chunk
                                    ? static_cast<const Segment&>(task).sent_ns
                                    : task.terms->sent_ns;
  begun_ns = std::clamp(begun_ns, sent_ns, std::max(sent_ns, ipc::now_ns()));
  return Limit{begun_ns + timeout_ns, item};
}

void Supervisor::time_out(WorkerLink& link, Task& task, const Policy& policy, std::uint32_t item) {
  link.end().order_stop(task.id);
  link.ordered_stop = task.id;
  // It may have come to its end, or to the next item, just before the order.
  collect_from(link);
  if (link.state == LinkState::doomed || link.oldest() != &task) return;
  const auto limit = passes_at(link, task, policy.timeout_ns);
  if (!limit || limit->item != item || limit->when_ns > ipc::now_ns()) return;
  Terms& terms = terms_of(task);
  terms.verdict = Ending::timed_out;
  terms.item = item;
  link.sentence = {.task = &task, .kill_at_ns = ipc::now_ns()};
  if (shares_process(link)) {
    link.sentence.signal_at_ns = link.sentence.kill_at_ns;
    link.sentence.signal_gap_ns = kFirstSignalGapNs;
    link.sentence.kill_at_ns += kSparingNs;
  }
}

// Has the task, which runs there, end as `verdict`: by itself until then, else by force.
void Supervisor::sentence(WorkerLink& link, Task& task, Ending verdict, std::uint64_t grace_ns) {
  const std::uint64_t now = ipc::now_ns();
  terms_of(task).verdict = verdict;
  if (link.state == LinkState::doomed) return;  // it is on its way already
  if (verdict == Ending::timed_out && shares_process(link)) {
    grace_ns = std::max(grace_ns, kSparingNs);
  }
  if (link.sentence.task == &task) {
    link.sentence.kill_at_ns = std::min(link.sentence.kill_at_ns, now + grace_ns);
  } else {
    link.end().order_stop(task.id);
    link.ordered_stop = task.id;
    link.sentence = {.task = &task,
                     .kill_at_ns = now + grace_ns,
                     .signal_at_ns = now,
                     .signal_gap_ns = kFirstSignalGapNs};
  }
  wake_at(watch(link, now));
}

// Kills the worker; what it was sentenced for is complete at once.
void Supervisor::doom(WorkerLink& link) {
  const Sentence sentence = std::exchange(link.sentence, {});
  Task& task = *sentence.task;
  link.state = LinkState::doomed;
  link.killed_for_task = true;
  launcher_->kill(link.key);
  spare_unbegun(link);
  ipc::CurrentView current = link.end().current();
  // It may have got to the end of the item meanwhile, but then it has begun no other (C7).
  if (task.terms->verdict == Ending::timed_out) {
    current.progress = std::min<std::uint64_t>(current.progress, task.terms->item);
  }
  Failure failure = failure_of(link);
  failure.cost_others = shares_process(link);
  failure.ran_ns = link.ran_ns(current, ipc::now_ns());
  if (sentence.asked_at_ns != 0) failure.stack = link.answered_stack(task.id).value_or("");
  for (Task* other : link.take_all()) {
    if (other == &task) continue;
    took_out(link, *other);  // it says that it has claimed that one, too
    other->stage.store(Stage::resting, std::memory_order_relaxed);
    link.after_death.push_back(other);
  }
  scheduler_.remove(link.rank);
  if (task.kind == ipc::TaskKind::chunk) {
    part_segment(link, static_cast<Segment&>(task), current, failure, &link);
  } else {
    end_begun(task, failure, &link);
  }
}

Failure Supervisor::failure_of(const WorkerLink& link) {
  Failure failure;
  failure.worker_key = link.key;
  failure.pid = link.pid;
  failure.rank = link.lane;
  failure.protocol = link.broke_protocol;
  return failure;
}

// What waits in the ring of this worker goes back to the head of the backlog, in its order.
void Supervisor::spare_unbegun(WorkerLink& link) {
  std::vector<Task*> spared;
  while (Task* task = link.take_back_any(WorkerLink::Spare::nothing)) {
    took_back(link, *task);
    spared.push_back(task);
  }
  for (auto task = spared.rbegin(); task != spared.rend(); ++task) backlog_.push_front(**task);
}

// --- deadlines

void Supervisor::expire(Task& task) {
  agenda_.remove(*std::exchange(task.terms->deadline, std::nullopt));
  const auto stage = task.stage.load(std::memory_order_relaxed);
  if (stage == Stage::sent) {
    WorkerLink& link = *links_[task.rank];
    if (!link.take_back(task)) {
      if (task.terms->verdict == Ending::none) sentence(link, task, Ending::timed_out, 0);
      return;
    }
    took_back(link, task);
  } else {
    withdraw(task);
  }
  end_unbegun(task, task.terms->policy.deadline_ns);
}

// Ends a task that a deadline has caught before it had begun.
void Supervisor::end_unbegun(Task& task, std::uint64_t limit_ns) {
  Failure failure;
  failure.limit_ns = limit_ns;
  failure.of_deadline = true;
  failure.begun = false;
  fail(task, failure);
  complete(task, Ending::timed_out);
}

void Supervisor::expire(MapJob& job) {
  agenda_.remove(*std::exchange(job.deadline, std::nullopt));
  job.expired = true;
  const std::uint64_t limit_ns = job.policy->deadline_ns;
  if (job.queued) {
    backlog_.remove(job.anchor);
    job.queued = false;
    end_unbegun(cut_all(job), limit_ns);
  }
  std::vector<Segment*> open;
  for (Segment* segment = job.first; segment != nullptr; segment = segment->following) {
    if (!segment->is_complete()) open.push_back(segment);
  }
  for (Segment* segment : open) {
    if (segment->stage.load(std::memory_order_relaxed) == Stage::sent) {
      WorkerLink& link = *links_[segment->rank];
      if (!link.take_back(*segment)) {
        if (terms_of(*segment).verdict != Ending::none) continue;
        sentence(link, *segment, Ending::timed_out, 0);
        continue;
      }
      took_back(link, *segment);
    } else {
      withdraw(*segment);
    }
    end_unbegun(*segment, limit_ns);
  }
}

// --- cancellation

// A task that waits or rests leaves the place where it does.
void Supervisor::withdraw(Task& task) {
  if (task.stage.load(std::memory_order_relaxed) == Stage::waiting) {
    backlog_.remove(task);
    return;
  }
  if (task.terms != nullptr && task.terms->retry) {
    agenda_.remove(*std::exchange(task.terms->retry, std::nullopt));
    return;
  }
  for (const auto& link : links_) {
    if (link) std::erase(link->after_death, &task);
  }
}

bool Supervisor::cancel(Task& task, Running running, std::optional<std::uint64_t> grace_ns) {
  const Lock lock(mutex_);
  settle();
  switch (task.stage.load(std::memory_order_relaxed)) {
    case Stage::complete: return task.ending == Ending::cancelled;
    case Stage::sent: {
      WorkerLink& link = *links_[task.rank];
      if (!link.take_back(task)) {
        const bool spare = task.terms == nullptr || !task.terms->policy.cancel_running;
        if (running == Running::spare && spare) return false;
        const Terms& terms = terms_of(task);
        if (terms.verdict == Ending::timed_out) return false;
        sentence(link, task, Ending::cancelled, grace_ns.value_or(terms.policy.grace_ns));
        return true;
      }
      took_back(link, task);
      break;
    }
    case Stage::waiting:
    case Stage::resting: withdraw(task);
  }
  free_payload(task);
  complete(task, Ending::cancelled);
  settle();
  return true;
}

}  // namespace owngil::runtime

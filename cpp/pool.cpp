// SPDX-License-Identifier: BSD-3-Clause
#include "owngil/pool.hpp"

#include "cpp/durations.hpp"
#include "cpp/outcome.hpp"
#include "cpp/pickle_writer.hpp"
#include "cpp/session.hpp"
#include "cpp/task_handle.hpp"
#include "ipc/clock.hpp"
#include "ipc/futex.hpp"

#include <cstdint>
#include <new>
#include <stdexcept>
#include <utility>

namespace owngil {

using cpp::nanoseconds;
using runtime::Admission;

namespace {

// How long workers that were killed may take to be gone: one may hang in the kernel.
constexpr std::uint64_t kDyingNs = 1'000'000'000;

// (args, kwargs), as a worker unpickles a call.
Bytes pickled_call(const Arguments& arguments) {
  cpp::PickleWriter writer;
  writer.op(cpp::Op::mark);
  for (const Value& argument : arguments.positional) writer.value(argument);
  writer.op(cpp::Op::tuple);
  writer.op(cpp::Op::empty_dict);
  writer.op(cpp::Op::mark);
  for (const Named& argument : arguments.keywords) {
    writer.value(argument.name);
    writer.value(argument.value);
  }
  writer.op(cpp::Op::setitems);
  writer.op(cpp::Op::tuple2);
  return writer.take();
}

void check_admission(runtime::Supervisor& supervisor, Admission admission) {
  switch (admission) {
    case Admission::admitted: return;
    case Admission::closed: throw PoolClosed("owngil: the pool takes no tasks after shutdown()");
    case Admission::broken: throw cpp::broken_error(supervisor);
    case Admission::no_memory: throw std::bad_alloc();
  }
}

}  // namespace

// --- Submitter

struct Submitter::Terms {
  runtime::Policy policy;
};

Submitter::Submitter(const Submitter&) = default;
Submitter::Submitter(Submitter&&) noexcept = default;
Submitter& Submitter::operator=(const Submitter&) = default;
Submitter& Submitter::operator=(Submitter&&) noexcept = default;
Submitter::~Submitter() = default;

Submitter::Submitter(std::shared_ptr<cpp::Session> session) noexcept
    : session_(std::move(session)) {}

Submitter::Submitter(std::shared_ptr<cpp::Session> session, const TaskOptions& options)
    : session_(std::move(session)) {
  runtime::Policy policy;
  policy.timeout_ns = nanoseconds(options.timeout, "timeout");
  policy.deadline_ns = nanoseconds(options.deadline, "deadline");
  policy.backoff_ns = nanoseconds(options.backoff, "backoff");
  policy.grace_ns = nanoseconds(options.grace, "grace");
  policy.retries = options.retries;
  policy.retry_died = true;
  policy.retry_timed_out = options.retry_timeouts;
  policy.cancel_running = options.cancel_running;
  session_->supervisor();  // not in a child of fork()
  if (!options.retry_on.empty()) policy.retry_on = session_->judge(options.retry_on);
  terms_ = std::make_shared<Terms>(policy);
}

Future Submitter::call(std::string_view function, const Arguments& arguments) const {
  runtime::Supervisor& supervisor = session_->supervisor();
  const std::uint32_t number = session_->function(function);
  Bytes payload;
  runtime::Call call{number, 0, ipc::Format::none, {}};
  if (!arguments.positional.empty() || !arguments.keywords.empty()) {
    payload = pickled_call(arguments);
    call.format = ipc::Format::pickle;
    call.payload = payload;
  }
  runtime::Task* task = nullptr;
  check_admission(supervisor,
                  supervisor.submit(call, task, terms_ != nullptr ? &terms_->policy : nullptr));
  return Future(std::make_unique<cpp::TaskHandle>(session_, *task));
}

// --- Pool

Pool::Pool(const PoolOptions& options)
    : session_(std::make_shared<cpp::Session>(options)), plain_(session_) {}

Pool::Pool(Pool&&) noexcept = default;

Pool& Pool::operator=(Pool&& other) noexcept {
  if (this == &other) return *this;
  end();
  session_ = std::move(other.session_);
  plain_ = std::move(other.plain_);
  return *this;
}

Pool::~Pool() { end(); }

void Pool::end() noexcept {
  if (session_ == nullptr || !session_->is_ours()) return;
  session_->supervisor().shutdown(false);
  session_->wait_ended(ipc::kForever);
}

Submitter Pool::options(const TaskOptions& options) const { return {session_, options}; }

void Pool::resize(unsigned workers) {
  if (workers == 0) throw std::invalid_argument("owngil: a pool has at least one worker");
  check_admission(session_->supervisor(), session_->supervisor().resize(workers));
}

PoolStats Pool::stats() const {
  const runtime::Snapshot taken = session_->supervisor().snapshot();
  PoolStats stats{{}, taken.pending, taken.running, taken.restarts};
  for (const runtime::WorkerSnapshot& worker : taken.workers) {
    stats.workers.push_back({static_cast<int>(worker.lane), worker.pid, worker.outstanding,
                             worker.tasks_done, std::chrono::nanoseconds(worker.busy_ns)});
  }
  return stats;
}

std::vector<std::string> Pool::take_warnings() {
  session_->supervisor();  // not in a child of fork()
  return session_->engine().runtime().take_notes();
}

void Pool::shutdown(const ShutdownOptions& options) {
  runtime::Supervisor& supervisor = session_->supervisor();
  const std::uint64_t limit_ns = nanoseconds(options.timeout, "timeout");
  supervisor.shutdown(options.cancel_pending);
  const std::uint64_t deadline_ns = limit_ns == 0 ? ipc::kForever : ipc::now_ns() + limit_ns;
  if (!session_->wait_ended(deadline_ns)) session_->kill_workers(kDyingNs);
}

void Pool::kill() {
  session_->supervisor().shutdown(true);
  session_->kill_workers(kDyingNs);
}

}  // namespace owngil

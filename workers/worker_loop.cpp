// SPDX-License-Identifier: BSD-3-Clause
#include "workers/worker_loop.hpp"

#include "ipc/check.hpp"
#include "ipc/clock.hpp"
#include "ipc/futex.hpp"

namespace owngil::workers {

namespace {

// Nobody closes every descriptor in less, and a look costs system calls.
constexpr std::uint64_t kLongEnoughNs = 20'000;

// To give memory back and to get it again costs 0.3 ms a MiB.
constexpr std::uint64_t kIdleNs = 2'000'000'000;

}  // namespace

LoopEnd WorkerLoop::run(std::uint32_t pid) {
  channel_.set_state(ipc::WorkerState::ready, pid);
  const LoopEnd end = work();
  channel_.set_state(ipc::WorkerState::leaving, pid);
  return end;
}

LoopEnd WorkerLoop::work() {
  for (;;) {
    const ipc::TaskSlot* const slot = channel_.front_task();
    if (slot == nullptr) {
      if (const auto end = wait()) return *end;
      continue;
    }
    const Next next = receive(*slot);
    channel_.pop_task();
    switch (next) {
      case Next::go_on: break;
      case Next::stop: return LoopEnd::stopped;
      case Next::initializer_failed: return LoopEnd::initializer_failed;
      case Next::over_memory: channel_.ring_control(); return LoopEnd::over_memory;
      case Next::cut_off: return LoopEnd::cut_off;
    }
  }
}

std::optional<LoopEnd> WorkerLoop::wait() {
  now_ns_ = 0;
  if (channel_.spin_for_task()) return std::nullopt;
  if (!channel_.can_ring()) return LoopEnd::cut_off;
  runner_.before_sleep();
  const bool has_spare = !has_given_back_ && memory_.has_spare();
  const std::uint64_t slept_from = has_spare ? ipc::now_ns() : 0;
  // The loop looks again anyway.
  static_cast<void>(channel_.sleep_for_task(has_spare ? kIdleNs : ipc::kForever));
  if (!runner_.after_sleep()) return LoopEnd::interrupted;
  if (has_spare && ipc::now_ns() - slept_from >= kIdleNs) {
    memory_.give_spare_back();
    has_given_back_ = true;
  }
  return std::nullopt;
}

WorkerLoop::Next WorkerLoop::receive(const ipc::TaskSlot& slot) {
  switch (slot.kind) {
    case ipc::TaskKind::define: blobs_.define(slot.function, payload(slot)); return Next::go_on;
    case ipc::TaskKind::forget:
      blobs_.forget(slot.function);
      runner_.forget(slot.function);
      return Next::go_on;
    case ipc::TaskKind::stop: return Next::stop;
    case ipc::TaskKind::initialize:
    case ipc::TaskKind::call:
    case ipc::TaskKind::chunk: return channel_.try_claim() ? execute(slot) : Next::go_on;
  }
  OWNGIL_CHECK(!"a kind of task that this build knows");
  return Next::stop;
}

WorkerLoop::Next WorkerLoop::execute(const ipc::TaskSlot& slot) {
  const std::uint64_t begun_ns = now_ns_ != 0 ? now_ns_ : ipc::now_ns();
  channel_.begin(slot.task, begun_ns);
  has_given_back_ = false;
  const Task task{.id = slot.task,
                  .function = slot.function,
                  .context = slot.context,
                  .retry_on = slot.retry_on,
                  .count = slot.count,
                  .timed = (slot.flags & ipc::kTimed) != 0,
                  .kind = slot.kind,
                  .format = slot.format,
                  .payload = payload(slot)};
  ipc::ResultSlot& result = channel_.reserve_result();
  Reply reply(result, channel_, memory_);
  runner_.run(task, blobs_, reply);
  now_ns_ = ipc::now_ns();
  result.task = task.id;
  result.position = channel_.task_position();
  result.run_ns = now_ns_ - begun_ns;
  result.ended_ns = now_ns_;
  if (runner_.has_printed(result.run_ns)) reply.add_flag(ipc::kPrinted);
  Next next = Next::go_on;
  if (task.kind == ipc::TaskKind::initialize) {
    if (reply.status() == ipc::Status::raised) next = Next::initializer_failed;
  } else if (limit_.is_look_due(now_ns_)) {
    if (limit_.is_exceeded(now_ns_)) {
      reply.add_flag(ipc::kLast);
      next = Next::over_memory;
    }
    now_ns_ = 0;  // the next task has not begun yet
  }
  if (result.run_ns >= kLongEnoughNs && !channel_.can_ring()) {
    channel_.give_up_bells();  // who waits for the result hears of the worker's end
    next = Next::cut_off;
  }
  const bool is_unfinished = reply.is_unfinished();
  channel_.publish_result();
  if (is_unfinished) channel_.ring_control();  // though nobody waits for the outcome yet
  return next;
}

std::span<const std::byte> WorkerLoop::payload(const ipc::TaskSlot& slot) const {
  if (slot.where == ipc::Where::inline_bytes) return {slot.bytes, slot.size};
  const std::byte* const begin = arguments_.checked(slot.block);
  OWNGIL_CHECK(begin != nullptr);
  return {begin, slot.block.size};
}

}  // namespace owngil::workers

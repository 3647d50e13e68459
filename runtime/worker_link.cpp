// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/worker_link.hpp"

#include "ipc/build_id.hpp"
#include "ipc/clock.hpp"
#include "ipc/memfd.hpp"

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace owngil::runtime {

namespace {

ipc::Channel& prepared(ipc::Mapping& memory, Lane lane, bool may_refuse, std::uint64_t generation,
                       std::uint64_t memory_limit) {
  auto& channel = memory.as<ipc::Channel>();
  channel.header.magic = ipc::kMagic;
  channel.header.build = ipc::build_id();
  channel.header.rank = lane;
  channel.header.may_refuse = may_refuse ? 1 : 0;
  channel.header.generation = generation;
  channel.header.memory_limit = memory_limit;
  return channel;
}

}  // namespace

WorkerLink::WorkerLink(Rank its_rank, Lanes lanes, std::uint64_t its_key,
                       std::uint64_t its_generation, std::size_t results_size,
                       std::uint64_t memory_limit)
    : rank(its_rank),
      lane(lanes.lane_of(its_rank)),
      choice(lanes.choice_of(its_rank)),
      may_refuse(lanes.paired && choice == Choice::first),
      key(its_key),
      generation(its_generation),
      launched_ns(ipc::now_ns()),
      channel_fd_(ipc::create_memfd("owngil-channel", ipc::kChannelBytes)),
      channel_memory_(channel_fd_.get(), sizeof(ipc::Channel), ipc::Access::read_write,
                      ipc::OnFork::exclude),
      results_fd_(ipc::create_memfd("owngil-results", results_size)),
      results_(results_fd_.get(), results_size, ipc::OnFork::exclude),
      end_(prepared(channel_memory_, lane, may_refuse, its_generation, memory_limit)) {
  // Not the text of a dump: there is no memory for it until there is a text.
  if (!ipc::commit(channel_fd_.get(), 0, sizeof(ipc::Channel))) {
    throw std::system_error(ENOMEM, std::generic_category(), "fallocate(channel)");
  }
}

WorkerLink::~WorkerLink() {
  if (result_arena_ == nullptr) return;
  result_arena_->lose_worker();
  result_arena_->release();
}

ResultArena& WorkerLink::result_arena() {
  if (result_arena_ == nullptr) result_arena_ = new ResultArena(results_fd_.get(), results_.size());
  return *result_arena_;
}

ResultArena* WorkerLink::give_away_result_arena() {
  if (result_arena_ != nullptr) result_arena_->keep(std::move(results_fd_));
  return std::exchange(result_arena_, nullptr);
}

void WorkerLink::give_back_buffers() {
  if (result_arena_ == nullptr || !result_arena_->has_given_back()) return;
  for (const std::uint64_t offset : result_arena_->take_given_back()) release(offset);
}

bool WorkerLink::has_room(std::uint64_t messages) {
  // Usually the answers tell, without a look at the worker's own word.
  if (next_ - worked_off_ + messages <= ipc::kRingSlots) return true;
  static_cast<void>(oldest());  // what needs no answer takes no room
  return next_ - oldest_ + messages <= ipc::kRingSlots && end_.task_room() >= messages;
}

void WorkerLink::publish(Task* answered_by) {
  const std::uint64_t position = end_.publish_task();
  in_flight_[position & kMask] = answered_by;
  next_ = position + 1;
  if (answered_by != nullptr) {
    answered_by->position = position;
    ++outstanding;
  }
}

Task* WorkerLink::take_back_any(Spare spare) {
  const Task* spared = spare == Spare::oldest ? oldest() : nullptr;
  for (std::uint64_t position = oldest_; position < next_; ++position) {
    Task* task = in_flight_[position & kMask];
    if (task != nullptr && task != spared && take_back(*task)) return task;
  }
  return nullptr;
}

bool WorkerLink::take_back(Task& task) {
  if (!end_.try_take_back(task.position)) return false;
  in_flight_[task.position & kMask] = nullptr;
  --outstanding;
  return true;
}

Task* WorkerLink::oldest() {
  while (oldest_ < next_ && in_flight_[oldest_ & kMask] == nullptr) ++oldest_;
  return oldest_ < next_ ? in_flight_[oldest_ & kMask] : nullptr;
}

Task& WorkerLink::pop_oldest() {
  Task& task = *in_flight_[oldest_ & kMask];
  last_answered_ = task.id;
  worked_off_ = oldest_;
  in_flight_[oldest_++ & kMask] = nullptr;
  --outstanding;
  return task;
}

std::uint64_t WorkerLink::answers_until(const Task& task) const {
  std::uint64_t answers = 0;
  for (std::uint64_t position = oldest_; position <= task.position; ++position) {
    answers += in_flight_[position & kMask] != nullptr ? 1 : 0;
  }
  return answers;
}

std::vector<Task*> WorkerLink::take_all() {
  std::vector<Task*> tasks;
  while (oldest() != nullptr) tasks.push_back(&pop_oldest());
  return tasks;
}

const std::byte* WorkerLink::result_block(ipc::BlockRef block) const {
  return can_hold(block.size) ? results_.checked(block) : nullptr;
}

bool WorkerLink::can_hold(std::uint64_t results_size) const {
  constexpr std::uint64_t kHarmless = std::uint64_t{1} << 20;  // not worth a system call
  return results_size <= kHarmless || results_size <= ipc::committed(results_fd_.get());
}

ipc::CurrentView WorkerLink::last_words() {
  if (last_words_) return *last_words_;
  ipc::CurrentView words = end_.current();
  Task* const task = oldest();
  if (task != nullptr && words.task != task->id && !may_not_have_begun(*task, words)) {
    broke_protocol = true;
    words.task = task->id;
    words.progress = 0;
  }
  last_words_ = words;
  return words;
}

// It has begun nothing after its last answer, and the claim of its next task says the same. To
// have claimed a task and not begun it takes a death within nanoseconds: that is believed once.
bool WorkerLink::may_not_have_begun(Task& task, const ipc::CurrentView& words) {
  const bool nothing_since =
      words.task == last_answered_ || (last_answered_ == 0 && words.task == kInitializerTask);
  if (!nothing_since) return false;
  const auto claim = end_.claim_of(task.position);
  if (claim == ipc::ClaimState::worker) return !std::exchange(task.suspect, true);
  return claim == ipc::ClaimState::free;
}

std::uint64_t WorkerLink::ran_ns(const ipc::CurrentView& current,
                                 std::uint64_t now_ns) const noexcept {
  const std::uint64_t begun_ns = current.begun_ns;
  return begun_ns < launched_ns || begun_ns > now_ns ? 0 : now_ns - begun_ns;
}

void WorkerLink::release(std::uint64_t offset) {
  unreleased_.push_back(offset);
  while (!unreleased_.empty() && end_.try_push_release(unreleased_.back())) {
    unreleased_.pop_back();
  }
}

std::string WorkerLink::read_stack(const ipc::StackDumpView& dump) const {
  std::string text(dump.size, '\0');
  // Read, not mapped: what the worker never wrote gets no memory by that.
  ssize_t size = 0;
  do {
    size = ::pread(channel_fd_.get(), text.data(), text.size(), ipc::kStackTextOffset);
  } while (size < 0 && errno == EINTR);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

std::string WorkerLink::last_stack(std::uint64_t task, std::optional<std::uint32_t> signal) const {
  const ipc::StackDumpView dump = end_.stack_dump();
  const bool of_this_end = signal ? dump.signal == *signal : dump.signal != 0;
  return dump.number != 0 && dump.task == task && of_this_end ? read_stack(dump) : std::string();
}

std::optional<std::string> WorkerLink::answered_stack(std::uint64_t task) const {
  const ipc::StackDumpView dump = end_.stack_dump();
  if (dump.number == stacks_before_) return std::nullopt;
  return dump.task == task ? read_stack(dump) : std::string();
}

void WorkerLink::set_known(std::uint32_t blob, bool known) {
  if (blob >= blobs_.size()) blobs_.resize(std::size_t{blob} + 64);
  blobs_[blob] = known;
}

}  // namespace owngil::runtime

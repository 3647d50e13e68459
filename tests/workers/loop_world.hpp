// SPDX-License-Identifier: BSD-3-Clause
// All that a worker's loop needs, in one process, with the supervisor's end beside it.
//
// Threads: the supervisor's verbs for one thread, the loop for the same or another.
// Lifetime: one test.
// Not: a supervisor. It sends what the test says and takes what comes.
#pragma once

#include "ipc/arena.hpp"
#include "ipc/channel.hpp"
#include "ipc/item.hpp"
#include "ipc/mapping.hpp"
#include "ipc/memfd.hpp"
#include "workers/worker_loop.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace owngil::workers {

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// What a worker answered, with its payload read from wherever it lies.
struct Answer {
  std::uint64_t task;
  std::uint64_t position;
  ipc::Status status;
  ipc::Format format;
  std::uint32_t count;
  std::uint8_t flags;
  std::uint64_t ended_ns;
  std::string payload;  // not of a chunk
  std::optional<ipc::BlockRef> block;
};

struct Item {
  ipc::Status status;
  ipc::Format format;
  std::string payload;

  bool operator==(const Item&) const = default;
};

class LoopWorld {
 public:
  explicit LoopWorld(std::size_t results_size = std::size_t{1} << 20)
      : channel_fd_(ipc::create_memfd("channel", sizeof(ipc::Channel))),
        channel_memory_(channel_fd_.get(), sizeof(ipc::Channel), ipc::Access::read_write),
        board_fd_(ipc::create_memfd("board", sizeof(ipc::Board))),
        board_memory_(board_fd_.get(), sizeof(ipc::Board), ipc::Access::read_write),
        caller_bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        control_bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        supervisor_(channel_memory_.as<ipc::Channel>()),
        worker_(channel_memory_.as<ipc::Channel>(), board_memory_.as<ipc::Board>(),
                caller_bell_.get(), control_bell_.get()),
        arguments_("arguments", std::size_t{1} << 20),
        arguments_view_(arguments_.fd(), arguments_.size()),
        results_("results", results_size),
        results_view_(results_.fd(), results_.size()) {}

  ipc::SupervisorEnd& supervisor() { return supervisor_; }
  ipc::WorkerEnd& worker() { return worker_; }
  ipc::Arena& arguments() { return arguments_; }
  ipc::Arena& results() { return results_; }

  void lose_bells() {
    caller_bell_.reset();
    control_bell_.reset();
  }

  LoopEnd run(TaskRunner& runner, MemoryLimit limit = MemoryLimit(0)) {
    return WorkerLoop(worker_, arguments_view_, results_, runner, limit).run(kPid);
  }

  // Whether the control thread was rung, whoever the bell names; it is silent afterwards.
  bool was_control_rung() {
    std::uint64_t rings = 0;
    return ::read(control_bell_.get(), &rings, sizeof rings) == sizeof rings;
  }

  // Returns the position.
  std::uint64_t send(ipc::TaskKind kind, std::uint64_t task, std::string_view payload = {},
                     std::uint32_t function = 0, ipc::Format format = ipc::Format::tagged,
                     std::uint32_t count = 1) {
    ipc::TaskSlot& slot = *supervisor_.try_reserve_task();
    slot.task = task;
    slot.function = function;
    slot.context = 0;
    slot.count = count;
    slot.kind = kind;
    slot.format = format;
    if (payload.size() <= ipc::kInlineBytes) {
      slot.where = ipc::Where::inline_bytes;
      slot.size = static_cast<std::uint32_t>(payload.size());
      if (!payload.empty()) std::memcpy(slot.bytes, payload.data(), payload.size());
    } else {
      const ipc::BlockRef block = arguments_.allocate(payload.size()).value();
      std::memcpy(arguments_.at(block.offset), payload.data(), payload.size());
      slot.where = ipc::Where::block;
      slot.block = {block.offset, payload.size()};
      payloads_.push_back(block.offset);
    }
    const std::uint64_t position = supervisor_.publish_task();
    supervisor_.wake_if_asleep();
    return position;
  }
  std::uint64_t send_call(std::uint64_t task, std::string_view payload = {}) {
    return send(ipc::TaskKind::call, task, payload);
  }
  // Requires: the worker reads none of them any more.
  void free_payloads() {
    for (const std::uint64_t offset : payloads_) arguments_.free(offset);
    payloads_.clear();
  }
  void send_stop() { send(ipc::TaskKind::stop, 0); }

  std::optional<Answer> take() {
    const ipc::ResultSlot* slot = supervisor_.front_result();
    if (slot == nullptr) return std::nullopt;
    Answer answer{slot->task,  slot->position, slot->status,   slot->format,
                  slot->count, slot->flags,    slot->ended_ns, {},
                  {}};
    if (slot->where == ipc::Where::block) {
      answer.block = slot->block;
      if (slot->status != ipc::Status::chunk) answer.payload = text_of(read(slot->block));
    } else {
      answer.payload = text_of({slot->bytes, slot->size});
    }
    supervisor_.pop_result();
    return answer;
  }

  std::span<const std::byte> read(ipc::BlockRef block) const {
    return {results_view_.checked(block), block.size};
  }

  // The first `count` items of a chain, and how many blocks they are in.
  struct Chain {
    std::vector<Item> items;
    std::size_t blocks = 0;
  };
  Chain read_chain(ipc::BlockRef block, std::uint64_t count) const {
    Chain chain;
    for (;; ++chain.blocks) {
      const std::span<const std::byte> bytes = read(block);
      ipc::ChainHeader header;
      std::memcpy(&header, bytes.data(), sizeof header);
      std::size_t at = sizeof header;
      for (;;) {
        if (chain.items.size() == count) {
          ++chain.blocks;
          return chain;
        }
        if (ipc::is_marked(bytes[at], ipc::ItemMark::next_block)) break;
        const ipc::Item item = ipc::read_item(bytes.subspan(at)).value();
        chain.items.push_back(
            {item.status, item.format, text_of(bytes.subspan(at + item.head, item.size))});
        at += item.end();
      }
      block = header.next;
    }
  }

  static constexpr std::uint32_t kPid = 4711;

 private:
  ipc::UniqueFd channel_fd_;
  ipc::Mapping channel_memory_;
  ipc::UniqueFd board_fd_;
  ipc::Mapping board_memory_;
  ipc::UniqueFd caller_bell_;
  ipc::UniqueFd control_bell_;
  ipc::SupervisorEnd supervisor_;
  ipc::WorkerEnd worker_;
  ipc::Arena arguments_;
  ipc::ArenaView arguments_view_;
  ipc::Arena results_;
  ipc::ArenaView results_view_;
  std::vector<std::uint64_t> payloads_;  // blocks in arguments_
};

// Runs tasks with a function of the test's; the default echoes the payload.
class FakeRunner final : public TaskRunner {
 public:
  using Run = std::function<void(const Task&, const ReceivedBlobs&, Reply&)>;

  FakeRunner() : run_(echo) {}
  explicit FakeRunner(Run run) : run_(std::move(run)) {}

  static void echo(const Task& task, const ReceivedBlobs&, Reply& reply) {
    static_cast<void>(reply.set(ipc::Status::returned, task.format, task.payload));
  }

  void run(const Task& task, const ReceivedBlobs& blobs, Reply& reply) override {
    seen.push_back(task.id);
    run_(task, blobs, reply);
  }
  bool has_printed(std::uint64_t) override { return prints; }
  void forget(std::uint32_t number) override { forgotten.push_back(number); }
  void before_sleep() override { ++sleeps; }
  bool after_sleep() override {
    ++wakes;
    return goes_on;
  }

  std::vector<std::uint64_t> seen;
  std::vector<std::uint32_t> forgotten;
  int sleeps = 0;
  int wakes = 0;
  bool goes_on = true;
  bool prints = false;

 private:
  Run run_;
};

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
// What a channel needs around it in a test: its memory, a board, and two eventfds for the bells.
#pragma once

#include "ipc/channel.hpp"
#include "ipc/layout.hpp"
#include "ipc/mapping.hpp"
#include "ipc/memfd.hpp"
#include "ipc/unique_fd.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace owngil::ipc::testing {

struct ChannelMemory {
  UniqueFd channel_fd = create_memfd("test-channel", sizeof(Channel));
  UniqueFd board_fd = create_memfd("test-board", sizeof(Board));
  Mapping channel_mapping{channel_fd.get(), sizeof(Channel), Access::read_write};
  Mapping board_mapping{board_fd.get(), sizeof(Board), Access::read_write};
  Mapping board_view{board_fd.get(), sizeof(Board), Access::read_only};
  UniqueFd caller_bell{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  UniqueFd control_bell{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

  Channel& channel = channel_mapping.as<Channel>();
  Board& board = board_mapping.as<Board>();
  const Board& board_as_worker = board_view.as<const Board>();
};

// How often it was rung since the last time.
inline std::uint64_t rings(const UniqueFd& bell) {
  std::uint64_t count = 0;
  return ::read(bell.get(), &count, sizeof count) == sizeof count ? count : 0;
}

inline void wait_for_ring(const UniqueFd& bell) {
  pollfd entry{bell.get(), POLLIN, 0};
  ::poll(&entry, 1, -1);
  rings(bell);
}

// A payload that shows damage.
struct Message {
  std::uint64_t number;
  std::uint64_t complement;

  explicit Message(std::uint64_t n) : number(n), complement(~n) {}
  explicit Message(const std::byte* bytes) { std::memcpy(this, bytes, sizeof *this); }
  [[nodiscard]] bool intact() const { return complement == ~number; }
};
static_assert(sizeof(Message) == 16);

inline void fill(TaskSlot& slot, std::uint64_t task, std::uint64_t number) {
  slot.task = task;
  slot.kind = TaskKind::call;
  slot.where = Where::inline_bytes;
  slot.size = sizeof(Message);
  slot.count = 1;
  const Message message(number);
  std::memcpy(slot.bytes, &message, sizeof message);
}

// False: the ring is full.
inline bool push(SupervisorEnd& end, std::uint64_t task) {
  TaskSlot* slot = end.try_reserve_task();
  if (slot == nullptr) {
    return false;
  }
  fill(*slot, task, task);
  end.publish_task();
  return true;
}

// What a worker does for a task: claims it, begins it and answers with its number. False: it was
// taken back. Requires: there is one.
inline bool serve(WorkerEnd& end) {
  const TaskSlot& task = *end.front_task();
  const std::uint64_t position = end.task_position();
  const bool mine = end.try_claim();
  if (mine) {
    end.begin(task.task, 1);
    ResultSlot& result = end.reserve_result();
    result.task = task.task;
    result.position = position;
    result.status = Status::returned;
    result.where = Where::inline_bytes;
    result.size = task.size;
    std::memcpy(result.bytes, task.bytes, sizeof(Message));
    end.publish_result();
  }
  end.pop_task();
  return mine;
}

}  // namespace owngil::ipc::testing

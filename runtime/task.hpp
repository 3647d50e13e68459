// SPDX-License-Identifier: BSD-3-Clause
// One task from admit to complete, and the store that tasks live in.
//
// Threads: everything is guarded by the supervisor's mutex, but for `stage`, which anybody who
//   holds a handle may read, and the outcome, which is immutable once `stage` is complete.
// Lifetime: a task lives until it is complete and its handle (the user's future) is released.
// Not: a future. It holds bytes; whoever holds the handle decodes them.
#pragma once

#include "ipc/layout.hpp"
#include "runtime/terms.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace owngil::runtime {

enum class Stage : std::uint8_t {
  waiting,   // in the backlog
  resting,   // has run, will run again: after its back-off, or once its worker is gone
  sent,      // in a worker's ring, or running
  complete,  // it has an outcome
};

class ResultArena;

// Bytes on the heap: an outcome that is too large to stay inline, or the items of a chunk.
struct HeapBytes {
  std::byte* data;
  std::size_t size;
  ResultArena* arena = nullptr;  // of the buffers that lists in it name; nullptr: there are none
  std::uint64_t buffered = 0;    // bytes of these
};

// The id of the one task that has no future: the initializer of a worker.
inline constexpr std::uint64_t kInitializerTask = ~std::uint64_t{0};

struct Task {
  std::atomic<Stage> stage{Stage::waiting};
  Ending ending{Ending::none};
  ipc::TaskKind kind{ipc::TaskKind::call};
  ipc::Format format{ipc::Format::none};
  // Where its bytes are: here, in the argument arena, on the heap, in its map's items; it may have
  // a failure instead. An anchor is no task: it stands in the backlog for what is left of a map.
  enum class Place : std::uint8_t { inline_bytes, block, heap, failure, job, anchor };
  Place place{Place::inline_bytes};
  bool handle{false};   // somebody outside still refers to it
  bool watched{false};  // its completion goes to the dispatcher
  bool waited{false};   // a thread waits for just this task
  bool printed{false};  // once complete: its worker may have, and that is to be seen first
  bool suspect{false};  // a worker died that had claimed it and did not say that it had begun it
  std::uint32_t rank{0};
  std::uint32_t function{0};
  std::uint32_t context{0};
  std::uint32_t size{0};  // of the inline bytes
  std::uint64_t id{0};
  union {
    std::uint64_t position{0};  // in the task ring of `rank`, while sent
    std::uint64_t answered_by;  // once complete: key of the worker; 0: none
  };
  Task* previous{nullptr};
  Task* next{nullptr};  // neighbours in the backlog, or the next free task
  void* watcher{nullptr};
  Terms* terms{nullptr};  // owned; most have none
  union {
    std::byte bytes[ipc::kInlineBytes];
    ipc::BlockRef block;  // in the argument arena
    HeapBytes heap;
    Failure* failure;  // owned
  };

  Task() : bytes{} {}
  bool is_complete() const { return stage.load(std::memory_order_acquire) == Stage::complete; }
};

// An intrusive queue of tasks in the order of admission.
class TaskQueue {
 public:
  bool empty() const { return first_ == nullptr; }
  Task* front() const { return first_; }
  std::size_t size() const { return size_; }

  void push_back(Task& task) {
    task.previous = last_;
    task.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &task;
    last_ = &task;
    ++size_;
  }

  void push_front(Task& task) {
    task.previous = nullptr;
    task.next = first_;
    (first_ != nullptr ? first_->previous : last_) = &task;
    first_ = &task;
    ++size_;
  }

  void remove(Task& task) {
    (task.previous != nullptr ? task.previous->next : first_) = task.next;
    (task.next != nullptr ? task.next->previous : last_) = task.previous;
    task.previous = task.next = nullptr;
    --size_;
  }

 private:
  Task* first_ = nullptr;
  Task* last_ = nullptr;
  std::size_t size_ = 0;
};

// Hands out tasks from slabs that are kept until the pool ends.
class TaskStore {
 public:
  Task& take() {
    if (free_ == nullptr) grow();
    Task* task = free_;
    free_ = task->next;
    return *new (task) Task;
  }

  void give_back(Task& task) {
    task.next = free_;
    free_ = &task;
  }

 private:
  static constexpr std::size_t kSlab = 256;

  void grow() {
    slabs_.push_back(std::make_unique<Task[]>(kSlab));
    for (std::size_t i = kSlab; i-- > 0;) give_back(slabs_.back()[i]);
  }

  std::vector<std::unique_ptr<Task[]>> slabs_;
  Task* free_ = nullptr;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// Large buffers. Those of arguments, and the shared memory that these name, are counted: by the
// caller or the task that has them, and by each link whose worker may look at them, until it says
// that it does not. Those of results are the
// worker's, out until the user lets go of them (result_arena.hpp).
#include "ipc/buffer_list.hpp"
#include "ipc/item.hpp"
#include "runtime/supervisor.hpp"

#include <cstdlib>
#include <utility>

namespace owngil::runtime {

// --- of arguments

std::optional<ipc::BlockRef> Supervisor::new_buffer(std::uint64_t size) {
  const Lock lock(mutex_);
  take_all_returns();
  const auto buffer = allocate(size);
  if (buffer) buffers_.add(buffer->offset);
  return buffer;
}

// What has come back since is warm.
void Supervisor::take_all_returns() {
  for (const auto& link : links_) {
    if (link && !link->buffers.empty() && !take_returns(*link)) make_rogue(*link);
  }
}

// What is small always gets memory while there is any: it is what the pool itself lives on.
std::optional<ipc::BlockRef> Supervisor::allocate(std::uint64_t size) {
  if (size >= ipc::kLeastBuffer &&
      (size > options_.arena_limit || arguments_.in_use() > options_.arena_limit - size)) {
    return std::nullopt;
  }
  const auto block = arguments_.allocate(size);
  spare_.on_allocated();
  return block;
}

void Supervisor::give_spare_back(std::uint64_t now) {
  if (spare_.due_ns() == ipc::kForever) return;
  take_all_returns();
  spare_.look(now);
  if (spare_.due_ns() != ipc::kForever) wake_at(spare_.due_ns());
}

Holdings Supervisor::holdings() {
  const Lock lock(mutex_);
  Holdings held{options_.arena_limit, arguments_.in_use(), {}};
  for (const auto& link : links_) {
    if (!link) continue;
    std::uint64_t bytes = 0;
    link->buffers.each([&](std::uint64_t offset) {
      if ((offset & ipc::kShared) == 0) bytes += arguments_.size_of(offset);
    });
    if (bytes != 0) held.workers.push_back({link->lane, link->pid, bytes});
  }
  return held;
}

bool Supervisor::is_filling() {
  const Lock lock(mutex_);
  return arguments_.in_use() > options_.arena_limit / 2;
}

// So much that no more of it is begun until the user has read some; which the user can.
bool Supervisor::is_unread_enough(const MapJob& job) const {
  return !closing_ && job.handle && job.unread > options_.arena_limit / 2 && job.first != nullptr &&
         job.first->is_complete();
}

void Supervisor::drop_buffer(ipc::BlockRef buffer) {
  const Lock lock(mutex_);
  drop_one(buffer.offset);
}

ipc::BlockRef Supervisor::hold_shared(SharedBlock& block) {
  const ipc::BlockRef name = block.name();
  const Lock lock(mutex_);
  if (shared_.emplace(name.offset, &block).second) block.retain();
  buffers_.add(name.offset);
  return name;
}

void Supervisor::drop_one(std::uint64_t offset) {
  if (buffers_.drop(offset) != BlockHolds::Dropped::last) return;
  if ((offset & ipc::kShared) == 0) {
    arguments_.free(offset);
    if (!ended_ && spare_.on_freed()) wake_at(spare_.due_ns());
    if (waiting_for_room_ > 0) wake_for_room();
    return;
  }
  const auto found = shared_.find(offset);
  SharedBlock* const block = found->second;
  shared_.erase(found);
  block->release();
}

namespace {

template <class Visit>
void visit_all(const ipc::BufferList& list, Visit& visit) {
  for (std::uint32_t i = 0; i != list.size(); ++i) visit(list[i]);
}

}  // namespace

// Calls visit(buffer) for each that the task's arguments name. It reads the argument arena, which
// nobody else can write to.
template <class Visit>
void Supervisor::each_buffer(const Task& task, Visit&& visit) {
  std::span<const std::byte> bytes(task.bytes, task.size);
  if (task.place == Task::Place::block) {
    bytes = {arguments_.at(task.block.offset), task.block.size};
  } else if (task.place != Task::Place::inline_bytes) {
    return;
  }
  const auto list = ipc::BufferList::read(bytes);
  if (list) visit_all(*list, visit);
}

template <class Visit>
void Supervisor::each_buffer_of_items(const Segment& segment, Visit&& visit) {
  std::span<const std::byte> rest(segment.job->items.data() + segment.begin,
                                  segment.end - segment.begin);
  for (std::uint32_t left = segment.count; left > 0; --left) {
    const ipc::Item item = *ipc::read_item(rest);
    if (item.format == ipc::Format::buffers) {
      const auto list = ipc::BufferList::read(rest.subspan(item.head, item.size));
      if (list) visit_all(*list, visit);
    }
    rest = rest.subspan(item.end());
  }
}

void Supervisor::hold_buffers(WorkerLink& link, const Task& task) {
  const auto hold = [&](ipc::BlockRef buffer) {
    buffers_.add(buffer.offset);
    link.buffers.add(buffer.offset);
  };
  if (task.place != Task::Place::job) {
    each_buffer(task, hold);
  } else if (const auto& segment = static_cast<const Segment&>(task); segment.job->has_buffers) {
    each_buffer_of_items(segment, hold);
  }
}

// The task was taken back before its worker has looked at it.
void Supervisor::unhold_buffers(WorkerLink& link, const Task& task) {
  if (link.buffers.empty()) return;
  const auto unhold = [&](ipc::BlockRef buffer) {
    if (link.buffers.drop(buffer.offset) != BlockHolds::Dropped::none) drop_one(buffer.offset);
  };
  if (task.place == Task::Place::job) {
    const auto& segment = static_cast<const Segment&>(task);
    if (segment.job->has_buffers) each_buffer_of_items(segment, unhold);
  } else if (task.format == ipc::Format::buffers) {
    each_buffer(task, unhold);
  }
}

void Supervisor::drop_held(BlockHolds& buffers) {
  buffers.drop_all([this](std::uint64_t offset) { drop_one(offset); });
}

void Supervisor::bury_leaver(Leaver& leaver) {
  drop_held(leaver.buffers);
  if (leaver.results == nullptr) return;
  leaver.results->lose_worker();
  leaver.results->release();
}

// Takes what the worker says that it looks at no more. False: it has never had that.
bool Supervisor::take_returns(WorkerLink& link) {
  if (link.state == LinkState::doomed) return true;
  while (const auto offset = link.end().pop_return()) {
    if (link.buffers.drop(*offset) == BlockHolds::Dropped::none) return false;
    drop_one(*offset);
  }
  return true;
}

void Supervisor::drop_argument_buffers(const Task& task) {
  each_buffer(task, [this](ipc::BlockRef buffer) { drop_one(buffer.offset); });
}

void Supervisor::drop_buffers_of_items(const Segment& segment) {
  each_buffer_of_items(segment, [this](ipc::BlockRef buffer) { drop_one(buffer.offset); });
}

// --- of results

namespace {

// Appends the buffers that the list names. False: it is none.
bool append_buffers(std::span<const std::byte> bytes, std::vector<ipc::BlockRef>& buffers) {
  const auto list = ipc::BufferList::read(bytes);
  if (!list || list->shared() != 0) return false;
  for (std::uint32_t i = 0; i != list->size(); ++i) buffers.push_back((*list)[i]);
  return true;
}

std::uint64_t size_of(const std::vector<ipc::BlockRef>& buffers) {
  std::uint64_t size = 0;
  for (const ipc::BlockRef buffer : buffers) size += buffer.size;
  return size;
}

}  // namespace

// What a worker's list names is out from now on. False: nonsense, and nothing is.
bool Supervisor::take_buffers(WorkerLink& link, HeapBytes& bytes) {
  std::vector<ipc::BlockRef> buffers;
  if (!append_buffers({bytes.data, bytes.size}, buffers)) return false;
  for (const ipc::BlockRef buffer : buffers) {
    if (link.result_block(buffer) == nullptr) return false;
  }
  bytes.arena = &link.result_arena();
  bytes.buffered = size_of(buffers);
  return bytes.arena->take_out(buffers);
}

bool Supervisor::take_item_buffers(WorkerLink& link, HeapBytes& items) {
  std::vector<ipc::BlockRef> buffers;
  for (std::span<const std::byte> rest(items.data, items.size); !rest.empty();) {
    const ipc::Item item = *ipc::read_item(rest);  // take_chain has looked
    if (item.format == ipc::Format::buffers &&
        (item.status != ipc::Status::returned ||
         !append_buffers(rest.subspan(item.head, item.size), buffers))) {
      return false;
    }
    rest = rest.subspan(item.end());
  }
  for (const ipc::BlockRef buffer : buffers) {
    if (link.result_block(buffer) == nullptr) return false;
  }
  items.arena = &link.result_arena();
  items.buffered = size_of(buffers);
  return items.arena->take_out(buffers);
}

namespace {

void let_go_of_buffers(std::span<const std::byte> bytes, ResultArena& arena) {
  const auto list = ipc::BufferList::read(bytes);
  for (std::uint32_t i = 0; list && i != list->size(); ++i) {
    const ipc::BlockRef buffer = (*list)[i];
    if (buffer.size != 0) arena.let_go(buffer);
  }
}

}  // namespace

// Whoever has decoded a result has taken its buffers out of the list.
void Supervisor::let_go_of_list(const HeapBytes& bytes) {
  if (bytes.arena != nullptr) let_go_of_buffers({bytes.data, bytes.size}, *bytes.arena);
}

// Of all items behind the first `from`.
void Supervisor::let_go_of_items(const HeapBytes& items, std::uint64_t from) {
  if (items.arena == nullptr) return;
  for (std::span<const std::byte> rest(items.data, items.size); !rest.empty();) {
    const ipc::Item item = *ipc::read_item(rest);
    if (from > 0) {
      --from;
    } else if (item.format == ipc::Format::buffers) {
      let_go_of_buffers(rest.subspan(item.head, item.size), *items.arena);
    }
    rest = rest.subspan(item.end());
  }
}

void Supervisor::free_heap(Task& task) {
  if (task.kind == ipc::TaskKind::chunk) {
    let_go_of_items(task.heap, 0);
  } else {
    let_go_of_list(task.heap);
  }
  std::free(task.heap.data);
}

}  // namespace owngil::runtime

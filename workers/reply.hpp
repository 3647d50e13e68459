// SPDX-License-Identifier: BSD-3-Clause
// The reply to one task, while it is made: one value or failure, or the items of a chunk.
//
// Threads: the worker's loop and the runner that it calls.
// Lifetime: one task. The loop publishes it when the runner has returned.
// Not: a copy. Bytes go straight to the slot or block where they are read.
#pragma once

#include "ipc/channel.hpp"
#include "ipc/layout.hpp"
#include "workers/chain_writer.hpp"
#include "workers/result_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace owngil::workers {

class Reply {
 public:
  Reply(ipc::ResultSlot& slot, ipc::WorkerEnd& channel, ResultMemory& memory)
      : slot_(slot), memory_(memory), items_(channel, memory) {}

  // The reply is these bytes. False: no memory for them, and there is no reply yet. `flags`:
  // ipc::ResultFlag.
  [[nodiscard]] bool set(ipc::Status status, ipc::Format format, std::span<const std::byte> bytes,
                         std::uint8_t flags = 0);

  // The reply is a failure that could not be told: there is no memory even for that.
  void set_untold_failure();

  // A chunk's: open the items, add all of them, or as many as were begun before the chunk was told
  // to stop, close. If they cannot be opened, the reply is a failure (set), which is then that of
  // every item.
  [[nodiscard]] ChainWriter& items() { return items_; }
  void close_items();

  // Requires: there is a reply.
  void add_flag(ipc::ResultFlag flag) { slot_.flags |= flag; }
  [[nodiscard]] ipc::Status status() const { return slot_.status; }
  // The task, or a part of it, is to run again or elsewhere.
  [[nodiscard]] bool is_unfinished() const {
    return slot_.status == ipc::Status::refused ||
           (slot_.flags & (ipc::kUnfit | ipc::kRetryable)) != 0;
  }
  [[nodiscard]] const ResultMemory& memory() const { return memory_; }
  // For what the reply's bytes refer to.
  [[nodiscard]] ResultMemory& memory() { return memory_; }

 private:
  void fill(ipc::Status status, ipc::Format format, ipc::Where where, std::uint32_t count,
            std::uint8_t flags = 0);

  ipc::ResultSlot& slot_;
  ResultMemory& memory_;
  ChainWriter items_;
};

}  // namespace owngil::workers

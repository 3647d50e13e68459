// SPDX-License-Identifier: BSD-3-Clause
// The large buffers of a call's arguments on their way: copied once, into memory that workers see.
//
// Threads: needs the GIL, which it gives up for long copies, and while there is no room.
// Lifetime: owns its blocks until they are the task's, or the map's.
// Not: a pickler. What has been collected is copied, and named in the payload.
#pragma once

#include "python/binding/gil.hpp"
#include "python/binding/module_state.hpp"
#include "runtime/supervisor.hpp"
#include "workers/buffer_collector.hpp"
#include "workers/byte_buffer.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace owngil::binding {

class SentBuffers {
 public:
  explicit SentBuffers(runtime::Supervisor& supervisor) : supervisor_(supervisor) {}
  SentBuffers(const SentBuffers&) = delete;
  SentBuffers& operator=(const SentBuffers&) = delete;
  ~SentBuffers() { drop_from(0); }

  // Copies what was collected and is not shared, and appends the payload: its list with these flags,
  // then the rest. False: an exception is set, and nothing is there that was not before.
  bool put(const ModuleState& state, const workers::CollectedBuffers& collected,
           std::uint32_t flags, std::span<const std::byte> rest, workers::ByteBuffer& out);

  // They are somebody else's now.
  void handed_over() {
    blocks_.clear();
    bytes_ = 0;
  }
  bool empty() const { return blocks_.empty(); }
  // Copied, and not handed over.
  std::uint64_t bytes() const { return bytes_; }

 private:
  bool copy(const Py_buffer& view);
  void drop_from(std::size_t first);

  runtime::Supervisor& supervisor_;
  std::vector<ipc::BlockRef> blocks_;
  std::uint64_t bytes_ = 0;
};

}  // namespace owngil::binding

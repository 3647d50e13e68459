// SPDX-License-Identifier: BSD-3-Clause
// Shared memory that does not change any more, for the tasks of any pool to read without a copy.
//
// Threads: any. Processes: the user's; workers map it by its place.
// Lifetime: counted, by the user's handle, by each task that names it and by each link whose worker
//   may look at it. With the last the memory is its origin's again.
// Not: to be touched in a child of fork, which has the count of its parent and not the memory.
#pragma once

#include "ipc/buffer_list.hpp"
#include "ipc/mapping.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace owngil::runtime {

class SharedBlock {
 public:
  SharedBlock(const SharedBlock&) = delete;
  SharedBlock& operator=(const SharedBlock&) = delete;

  void retain() noexcept { holds_.fetch_add(1, std::memory_order_relaxed); }  // who calls has one
  void release() noexcept {
    if (holds_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  // As a list of buffers names it.
  [[nodiscard]] ipc::BlockRef name() const noexcept { return name_; }
  [[nodiscard]] const ipc::SharedPlace& place() const noexcept { return place_; }
  // Here, for reading only.
  [[nodiscard]] std::byte* data() const noexcept { return memory_.data(); }

 protected:
  // What lies there in the file that this process has open as `fd`. Throws std::system_error.
  SharedBlock(int fd, ipc::BlockRef range);
  virtual ~SharedBlock() = default;  // gives it back to its origin

 private:
  // immutable after construction
  ipc::Mapping memory_;
  ipc::BlockRef name_;
  ipc::SharedPlace place_;
  // atomic
  std::atomic<std::uint64_t> holds_{1};
};

}  // namespace owngil::runtime

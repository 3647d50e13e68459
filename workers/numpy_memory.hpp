// SPDX-License-Identifier: BSD-3-Clause
// NumPy's large arrays in the worker's own arena from the start (NEP 49), so that an array that a
// task returns need not be copied: its block is handed over, if NumPy has let go of it by then.
//
// Threads: needs the GIL, under which NumPy allocates and frees.
// Lifetime: from its first use as long as the process: arrays may outlive the loop.
// Not: for other than the loop's thread: NumPy's handler is one of a context, and other threads
//   have theirs. Not for zeros beyond kMostZeros, which the system may never have to provide.
// Invariants:
//   N1  A block is NumPy's, or offered, or nobody's. What is offered and not freed stays NumPy's.
//   N2  A child that a task forks has its arrays to itself, as they were: it copies them before it
//       goes on, and until then its parent waits.
#pragma once

#include "ipc/layout.hpp"
#include "workers/result_memory.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>

namespace owngil::workers {

class NumpyMemory {
 public:
  static constexpr std::size_t kLeast = std::size_t{128} * 1024;
  static constexpr std::size_t kMostZeros = std::size_t{64} << 20;

  // Makes NumPy use it, if NumPy is loaded; nullptr: it is not, or has no such handlers. Borrows
  // `memory` until close().
  [[nodiscard]] static NumpyMemory* install(ResultMemory& memory) noexcept;
  // There is no memory to give from now on, and none to be given back.
  void close() noexcept { memory_ = nullptr; }

  // The block of an array that begins here, to be had by who drops all references to it; nothing:
  // there is none, or somebody was offered it already.
  [[nodiscard]] std::optional<ipc::BlockRef> offer(const void* data, std::size_t size) noexcept;
  // Whether NumPy has let go of what was offered: then it is the caller's. Else it is NumPy's again.
  [[nodiscard]] bool take(const void* data) noexcept;

 private:
  struct Array {
    ipc::BlockRef block;
    bool is_offered = false;
    bool is_freed = false;
  };

  NumpyMemory(ResultMemory& memory, const void* before) noexcept
      : memory_(&memory), before_(before) {}

  [[nodiscard]] void* allocate(std::size_t size) noexcept;
  [[nodiscard]] bool is_ours(const void* data) const noexcept;
  void free(void* data) noexcept;
  void begin_fork() noexcept;
  void end_fork_in_parent() noexcept;
  void end_fork_in_child() noexcept;

  friend struct NumpyHandler;

  ResultMemory* memory_;  // nullptr: closed
  const void* before_;    // NumPy's handler for all else
  std::byte* begin_ = nullptr;
  std::byte* end_ = nullptr;
  std::unordered_map<const void*, Array> arrays_;
  int pipe_[2] = {-1, -1};  // while it forks: the child says that it has its copy, or ends
};

}  // namespace owngil::workers

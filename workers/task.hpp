// SPDX-License-Identifier: BSD-3-Clause
// A task as the worker's loop hands it to whoever runs it.
//
// Lifetime: the payload lies in shared memory, and holds until the task's reply is published.
// Not: checked. The user's process wrote it, and a worker trusts that.
#pragma once

#include "ipc/layout.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace owngil::workers {

struct Task {
  std::uint64_t id;
  std::uint32_t function;  // number of a blob
  std::uint32_t context;   // number of a blob; 0: none
  std::uint32_t retry_on;  // number of a blob: which exceptions are worth another run; 0: none
  std::uint32_t count;     // items of a chunk; else 1
  bool timed;              // it has a time limit
  ipc::TaskKind kind;      // call, chunk or initialize
  ipc::Format format;      // of the payload; a chunk's items have their own
  std::span<const std::byte> payload;
};

}  // namespace owngil::workers

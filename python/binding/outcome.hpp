// SPDX-License-Identifier: BSD-3-Clause
// From an outcome's bytes to a value or an exception: decode.
//
// Threads: needs the GIL.
// Not: user code's judge. What fails while it decodes becomes a RemoteError, never a crash.
#pragma once

#include "ipc/layout.hpp"
#include "python/binding/module_state.hpp"
#include "runtime/task.hpp"
#include "workers/python.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace owngil::binding {

struct Decoded {
  workers::Ref value;      // one of the two
  workers::Ref exception;  // an instance

  bool is_value() const { return static_cast<bool>(value); }
};

// Requires: `task` is complete and no segment of a map that has returned. `item`: of a segment,
// which item of the map has failed.
Decoded decode_outcome(ModuleState& state, runtime::Supervisor& supervisor,
                       const runtime::Task& task, std::optional<std::uint64_t> item = {});

// The exception of a task's last run, which tells of the runs before it, if there were any.
workers::Ref with_attempts(workers::Ref exception, const runtime::Task& task,
                           std::optional<std::uint64_t> item = {});

// A returned value, or what it turned out to be. Large buffers that the bytes name are those of
// `arena`; they are taken out of the bytes, which are on the heap then, and the value's.
Decoded decode_returned(ModuleState& state, ipc::Format format, std::span<const std::byte> bytes,
                        runtime::ResultArena* arena);

// What owngil._outcomes calls Facts, a dict; none: an exception is set.
workers::Ref facts_of(const runtime::Failure& failure, std::optional<std::uint64_t> item = {});

// A failure that a worker sent; without a format there was no memory to tell it.
workers::Ref decode_failure(ipc::Format format, std::span<const std::byte> bytes);

}  // namespace owngil::binding

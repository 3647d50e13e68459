// SPDX-License-Identifier: BSD-3-Clause
// The terms on which a task runs: what was asked for it beside running it, and how far that went.
//
// Threads: guarded by the supervisor's mutex; immutable once the task is complete.
// Lifetime: a Policy is copied; Terms are their task's. A task without any has no Terms.
#pragma once

#include "ipc/layout.hpp"
#include "runtime/agenda.hpp"
#include "runtime/failure.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace owngil::runtime {

enum class Ending : std::uint8_t {
  none,
  returned,   // payload is the value; of a chunk: its items
  raised,     // payload is a failure
  died,       // the worker died after it had begun: `failure` says how
  timed_out,  // a limit has passed: `failure` says which, and where it was
  cancelled,  // it never ran, or was told to stop
  broken,     // the pool broke; the supervisor says why
  no_memory,  // its arguments found no room in the arena
};

// What a user asks for a call, or for each item of a map.
struct Policy {
  std::uint64_t timeout_ns = 0;   // from begun; 0: no limit
  std::uint64_t deadline_ns = 0;  // from submission, the time in the queue included; 0: no limit
  std::uint64_t backoff_ns = 0;   // before the first retry; twice as long before each further one
  std::uint64_t grace_ns = 1'000'000'000;  // from the order to stop until SIGKILL
  std::uint32_t retries = 0;               // how often it may run again
  std::uint32_t retry_on = 0;  // number of a blob: after which exceptions it does; 0: after none
  bool retry_died = false;     // and after the death of its worker
  bool retry_timed_out = false;
  bool cancel_running = false;  // a plain cancel() stops it also when it has begun
};

// How one run ended that was not the last.
struct Attempt {
  Ending ending;
  ipc::Format format = ipc::Format::none;  // of `payload`, of one that has raised
  std::vector<std::byte> payload = {};
  std::optional<Failure> failure = {};  // of any other
};

struct Terms {
  Policy policy;                    // of a map's segment: unused, its job has it
  Ending verdict = Ending::none;    // how it will end, whatever its worker still says of it
  std::uint32_t item = ~0U;         // of a chunk that has timed out: the item; ~0: the one it is at
  std::uint64_t sent_ns = 0;        // of one with a time limit
  std::uint64_t not_before_ns = 0;  // of one that rests
  std::vector<Attempt> attempts = {};
  std::optional<Agenda::Entry> deadline = {};
  std::optional<Agenda::Entry> retry = {};
};

}  // namespace owngil::runtime

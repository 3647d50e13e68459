// SPDX-License-Identifier: BSD-3-Clause
// What is known of a death, or of a limit, that failed a task: enough to say what happened.
//
// Threads: made under the supervisor's mutex, immutable from then on.
// Lifetime: owned by its task, until that is reused. On the heap, so that a task that succeeds
//   pays for a pointer only.
// Not: an exception. owngil._outcomes makes one of it, in whoever asks.
#pragma once

#include "runtime/oom_watch.hpp"

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace owngil::runtime {

// Whether it was for the sake of another worker in the same process.
enum class Collateral : std::uint8_t {
  no,       // it was alone there, or it was itself to blame
  yes,      // another one was
  unknown,  // nobody can tell who, or it was nobody there
};

struct Failure {
  // of the worker
  std::uint64_t worker_key = 0;
  pid_t pid = 0;
  std::uint32_t rank = 0;
  int wait_status = 0;        // as of wait(2)
  bool status_known = false;  // false: the guardian died before it could tell
  bool protocol = false;      // it broke the protocol and was killed for that
  std::uint64_t peak_rss_bytes = 0;
  OomEvidence oom;
  Collateral collateral = Collateral::no;
  bool cost_others = false;  // it was killed with others that lived in its process
  std::string stack;  // its Python stacks, as faulthandler writes them, or any bytes; empty: none
  // of the task
  std::uint64_t task = 0;
  std::string task_name;  // of its function
  std::uint64_t ran_ns = 0;
  // of a limit that has passed
  std::uint64_t limit_ns = 0;
  bool of_deadline = false;  // counted from the submission, not from when it had begun
  bool begun = true;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// What a supervisor needs from the world around it: processes, and a call later on.
//
// Threads: launch from any thread; the supervisor may hold its mutex while it calls kill, signal
//   and call_after, which therefore never call back.
// Not: the processes themselves; see process_host.hpp. Tests play workers with threads.
#pragma once

#include "runtime/process_host.hpp"

#include <cstdint>

namespace owngil::runtime {

class Launcher {
 public:
  virtual ~Launcher() = default;

  // Never twice the same.
  virtual std::uint64_t next_key() = 0;
  // In a pool with a fallback the rank says which kind of worker it is to be (Lanes).
  // std::system_error: nothing was started. Else one of Supervisor::on_exited, on_failed follows.
  // Workers that are reported to have the same process live and die together.
  virtual void launch(std::uint64_t key, std::uint32_t rank, const WorkerFds& fds) = 0;
  virtual void kill(std::uint64_t key) noexcept = 0;
  // To the process of a worker that runs; else nothing happens.
  virtual void signal(std::uint64_t key, int number) noexcept = 0;
  // Supervisor::on_timer is called on the control thread once this time has passed.
  virtual void call_after(std::uint64_t delay_ns) = 0;
  // The pool is closed, and the end of every worker was told: nothing will be called any more.
  virtual void ended() = 0;
};

}  // namespace owngil::runtime

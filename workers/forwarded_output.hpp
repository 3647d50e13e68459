// SPDX-License-Identifier: BSD-3-Clause
// A worker's stdout and stderr while they are pipes to the user's process, which has to show what a
// task printed before it shows the task's result: who wrote what is noticed here.
//
// Threads: needs the GIL.
// Lifetime: part of the state of `_core`, all zeros until make_output_streams() was called; of use
//   from the moment that `is_on` is set.
// Not: the reading end; that is runtime/output_pipes.hpp.
#pragma once

#include "workers/python.hpp"

#include <cstdint>
#include <ctime>

namespace owngil::workers {

struct ForwardedOutput {
  PyObject* streams[2];  // the buffers below sys.stdout and sys.stderr
  PyObject* write;       // io.BufferedWriter.write
  bool is_on;
  bool written;        // since the last flush
  timespec looked;     // when look_at_pipes last did
  timespec before[2];  // the pipes' last writes, as it saw them

  // Between a task's end and its reply: sends what the streams hold back. Whether something was
  // written to them. What goes wrong is left to the next who prints, as Python leaves it.
  bool flush() noexcept {
    if (!is_on || (!written && !c_holds_back())) return false;
    flush_all();
    return true;
  }

  // Whether the pipes were written to since the last look: code in C, or a process that the task has
  // started, does so unnoticed. Costs system calls, so a short task is not asked.
  [[nodiscard]] bool look_at_pipes(std::uint64_t run_ns) noexcept {
    return run_ns > kWorthALookNs && is_on && pipes_have_changed();
  }

 private:
  static constexpr std::uint64_t kWorthALookNs = 50'000;

  static bool c_holds_back() noexcept;
  bool pipes_have_changed() noexcept;
  void flush_all() noexcept;
};

// New streams for the descriptors 1 and 2, as a pair of io.TextIOWrapper; null: an exception is set.
// They send whole lines at once, and the rest with the task's reply.
// Requires: 1 and 2 are pipes, be it others than they will be.
[[nodiscard]] PyObject* make_output_streams(PyObject* module, const char* encoding,
                                            const char* const errors[2]) noexcept;

}  // namespace owngil::workers

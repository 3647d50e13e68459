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

namespace owngil::workers {

struct ForwardedOutput {
  PyObject* streams[2];  // the buffers below sys.stdout and sys.stderr
  int fds[2];            // the pipes that they write to
  PyObject* write;       // io.BufferedWriter.write
  bool is_on;
  bool written;  // since the last flush

  // Between a task's end and its reply: sends what the streams hold back. Whether something was
  // written to them. What goes wrong is left to the next who prints, as Python leaves it.
  bool flush() noexcept {
    if (!is_on || (!written && !c_holds_back())) return false;
    flush_all();
    return true;
  }

  // Whether there is something in the pipes: code in C, or a process that the task has started, writes
  // to them unnoticed. What has been read from them already, the user's process knows of. Costs system
  // calls, so a short task is not asked.
  [[nodiscard]] bool look_at_pipes(std::uint64_t run_ns) const noexcept {
    return run_ns > kWorthALookNs && is_on && is_in_pipes();
  }

 private:
  static constexpr std::uint64_t kWorthALookNs = 50'000;

  static bool c_holds_back() noexcept;
  [[nodiscard]] bool is_in_pipes() const noexcept;
  void flush_all() noexcept;
};

// New streams for these descriptors, as a pair of io.TextIOWrapper; null: an exception is set.
// They send whole lines at once, and the rest with the task's reply.
// Requires: they are pipes, be it others than they will be.
[[nodiscard]] PyObject* make_output_streams(PyObject* module, const char* encoding,
                                            const char* const errors[2], const int fds[2]) noexcept;

}  // namespace owngil::workers

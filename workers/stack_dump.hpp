// SPDX-License-Identifier: BSD-3-Clause
// What a worker says of itself when a signal ends it, or when it is asked where it is: the Python
// stacks of its threads, as faulthandler writes them, behind the channel. And that it is to blame:
// where many interpreters share a process, the one in whose thread the fault is.
//
// faulthandler writes a traceback from within a signal's handler, but has only one file to write
// to at a fault, and that is the user's. So it is registered for `ipc::stack_signal`, with a
// descriptor of ours, and its handler is called from ours. Who turns faulthandler on, by
// PYTHONFAULTHANDLER or in a task, gets what it writes besides.
// Threads: the handlers run in any; the rest is for the worker's own thread, with its GIL, but for
//   prepare_stack_dumps, which is for the process's main interpreter.
// Processes: prepared in the template for all its workers; a process that a task forks writes
//   nothing.
// Lifetime: the handlers are the process's; they write only while an ArmedStackDump is there.
// Not: certain. A task that closes our descriptor or takes the signals for itself, an overflow of
//   another thread's C stack, and SIGKILL leave no stack. Nobody waits for one for long.
#pragma once

#include "ipc/layout.hpp"

namespace owngil::workers {

// Installs the handlers and reserves the descriptor. Without faulthandler or a descriptor to spare
// there are no dumps, which is no failure. Does nothing the second time.
void prepare_stack_dumps() noexcept;

// For as long as it lives, the interpreter of this thread is a worker that writes here.
class ArmedStackDump {
 public:
  // Takes a copy of the channel's descriptor. Of many workers in a process the first 64 are armed.
  ArmedStackDump(int channel_fd, ipc::Channel& channel) noexcept;
  ArmedStackDump(const ArmedStackDump&) = delete;
  ArmedStackDump& operator=(const ArmedStackDump&) = delete;
  ~ArmedStackDump();

  struct Worker;  // of stack_dump.cpp

 private:
  Worker* worker_ = nullptr;
};

// The interpreter of this thread is about to end the process: its worker says so. May be called in a
// signal's handler.
void take_blame() noexcept;

}  // namespace owngil::workers

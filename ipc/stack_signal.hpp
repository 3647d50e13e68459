// SPDX-License-Identifier: BSD-3-Clause
// The signal that makes a worker write its Python stacks behind its channel (StackDump).
//
// A real-time signal: programs use these seldom, and none of Python's modules does.
#pragma once

#include <csignal>

namespace owngil::ipc {

inline int stack_signal() noexcept { return SIGRTMAX - 3; }

}  // namespace owngil::ipc

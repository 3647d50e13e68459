// SPDX-License-Identifier: BSD-3-Clause
// The signal that makes a worker look whether its task is to stop (Orders::stop_task).
//
// A real-time signal: programs use these seldom, and none of Python's modules does.
#pragma once

#include <csignal>

namespace owngil::ipc {

inline int interrupt_signal() noexcept { return SIGRTMAX - 2; }

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
// What a caller does whose arguments find no room in shared memory.
//
// Threads: needs the GIL, which is given up to wait.
// Not: a promise. What there is room for now may be gone when it is asked for.
#pragma once

#include "runtime/supervisor.hpp"

#include <cstddef>

namespace owngil::binding {

// Waits while something in flight can make room for so many bytes, unless this thread runs an event
// loop, which must not stand still. True: try again. False: an exception is set, a MemoryError that
// says who has what, or what a signal has raised.
bool wait_for_room(runtime::Supervisor& supervisor, std::size_t size);

}  // namespace owngil::binding

// SPDX-License-Identifier: BSD-3-Clause
// From an outcome's bytes to a value or an exception: decode.
//
// Threads: any; the task's handle is one thread's.
// Not: user code's judge. What is not plain stays a pickle.
#pragma once

#include "owngil/errors.hpp"
#include "owngil/value.hpp"
#include "runtime/supervisor.hpp"

namespace owngil::cpp {

// Takes it. Throws a TaskError, PoolBroken, std::bad_alloc. Requires: `task` is complete.
Value take_outcome(runtime::Supervisor& supervisor, runtime::Task& task);

PoolBroken broken_error(runtime::Supervisor& supervisor);

}  // namespace owngil::cpp

// SPDX-License-Identifier: BSD-3-Clause
// What Pool.map returns: encodes the items, and yields the results in their order.
//
// Threads: needs the GIL; one thread at a time takes from it.
// Lifetime: holds the supervisor and the job; letting it go cancels what has not begun.
// Not: a generator: an item that failed raises in its turn, and the next call goes on behind it.
#pragma once

#include "python/binding/pool.hpp"

namespace owngil::binding {

// `chunksize` 0: by measured duration. `buffersize` 0: takes all items at once.
PyObject* make_map_iterator(ModuleState& state, PoolObject& pool, const runtime::Policy* policy,
                            PyObject* function, PyObject* iterables, PyObject* timeout,
                            std::uint32_t chunksize, std::uint64_t buffersize);

}  // namespace owngil::binding

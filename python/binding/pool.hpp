// SPDX-License-Identifier: BSD-3-Clause
// The C half of owngil.Pool: submit and encode, and the supervisor behind it.
//
// Threads: needs the GIL.
// Lifetime: holds the supervisor; a pool that is let go shuts it down without waiting.
// Not: options, defaults, errors in words; owngil._pool has them.
#pragma once

#include "python/binding/context_watch.hpp"
#include "python/binding/module_state.hpp"
#include "workers/byte_buffer.hpp"

namespace owngil::binding {

struct PoolObject {
  PyObject_HEAD runtime::Supervisor* supervisor;  // nullptr until _open
  PyObject* number;                               // (function) -> number of its blob
  PyObject* context;                              // () -> number of the present context's blob
  PyObject* dispatcher;                           // owngil._dispatcher.Dispatcher
  PyObject* weakrefs;
  ContextWatch* watch;
  std::uint32_t context_number;
  std::uint32_t generation;  // see is_ours()
};

// The number of `function`'s blob; 0: an exception is set.
std::uint32_t function_number(const PoolObject& pool, PyObject* function);

// Brings pool.context_number up to date. False: an exception is set.
bool refresh_context(const ModuleState& state, PoolObject& pool);

// Appends the encoded arguments to `out`. False: an exception is set, that of pickling.
bool encode_arguments(ModuleState& state, PyObject* const* args, std::size_t positional,
                      PyObject* keyword_names, workers::ByteBuffer& out, ipc::Format& format);

}  // namespace owngil::binding

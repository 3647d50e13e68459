// SPDX-License-Identifier: BSD-3-Clause
// The C half of owngil.Pool: submit and encode, and the supervisor behind it.
//
// Threads: needs the GIL.
// Lifetime: holds the supervisor; a pool that is let go shuts it down without waiting.
// Not: options, defaults, errors in words; owngil._pool has them.
#pragma once

#include "python/binding/context_watch.hpp"
#include "python/binding/module_state.hpp"
#include "python/binding/sent_buffers.hpp"
#include "workers/byte_buffer.hpp"

#include <array>
#include <cstdint>

namespace owngil::binding {

// The numbers of the functions that were submitted last, as far as those can never change: of
// functions that workers import. Keeps them alive, so that no address is used again.
struct NumberCache {
  struct Entry {
    PyObject* function = nullptr;
    std::uint32_t number = 0;
  };

  Entry& entry(const PyObject* function) {
    // Objects are 16 bytes apart at least, functions much more.
    return entries[(reinterpret_cast<std::uintptr_t>(function) >> 5) % entries.size()];
  }

  std::array<Entry, 16> entries{};
};

struct PoolObject {
  PyObject_HEAD runtime::Supervisor* supervisor;  // nullptr until _open
  PyObject* number;                               // (function) -> number of its blob
  PyObject* number_lasts;  // (function) -> whether that number holds as long as the function
  NumberCache* numbers;
  PyObject* context;     // () -> number of the present context's blob
  PyObject* dispatcher;  // owngil._dispatcher.Dispatcher
  PyObject* weakrefs;
  ContextWatch* watch;
  std::uint32_t context_number;
  std::uint32_t generation;  // see is_ours()
};

// pool.submit(fn, *args, **kwargs) and pool._map(...), on terms if there is a policy.
PyObject* submit_call(PyObject* pool, const runtime::Policy* policy, PyObject* const* args,
                      Py_ssize_t nargs, PyObject* kwnames);
PyObject* map_calls(PyObject* pool, const runtime::Policy* policy, PyObject* args);

// The number of `function`'s blob; 0: an exception is set.
std::uint32_t function_number(PoolObject& pool, PyObject* function);

// Brings pool.context_number up to date. False: an exception is set.
bool refresh_context(const ModuleState& state, PoolObject& pool);

// Appends the encoded arguments to `out`, as `tagged` if they are plain. False: an exception is set, that of pickling.
bool encode_arguments(ModuleState& state, PyObject* const* args, std::size_t positional,
                      PyObject* keyword_names, SentBuffers& buffers, workers::ByteBuffer& out,
                      ipc::Format& format);

// The same for what is not plain: as `pickle`, or as `buffers` if something large went apart from
// the rest. Holds the arguments before it runs any Python.
bool pickle_arguments(ModuleState& state, PyObject* const* args, std::size_t positional,
                      PyObject* keyword_names, SentBuffers& buffers, workers::ByteBuffer& out,
                      ipc::Format& format);

// Makes a payload of what was encoded to `out` from `start` on and of what was put apart from that.
// False: an exception is set, and nothing is there from `start` on.
bool put_tagged(const ModuleState& state, const workers::CollectedBuffers& apart,
                SentBuffers& buffers, workers::ByteBuffer& out, std::size_t start);

}  // namespace owngil::binding

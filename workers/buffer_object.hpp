// SPDX-License-Identifier: BSD-3-Clause
// A large buffer in shared memory as Python sees it: what unpickled arrays lie over.
//
// Threads: needs the GIL. In the worker, of arguments; in the user's process, of results.
// Lifetime: whatever lies over it keeps it alive; when it goes it tells its owner.
// Not: a container. It has the buffer protocol and nothing else.
#pragma once

#include "ipc/buffer_owner.hpp"
#include "ipc/layout.hpp"
#include "workers/python.hpp"

#include <cstddef>
#include <cstdint>

namespace owngil::workers {

// A new reference, or nullptr with an exception set.
[[nodiscard]] PyTypeObject* make_buffer_type(PyObject* module) noexcept;

// A memoryview over `block`, which is at `data`; writable. None: an exception is set, and the owner
// has been told.
[[nodiscard]] Ref make_buffer(PyTypeObject* type, ipc::BufferOwner& owner, ipc::BlockRef block,
                              std::byte* data, std::uint64_t stamp) noexcept;

// A bytes object with a copy of what another object's buffer holds. nullptr: an exception is set.
[[nodiscard]] PyObject* copy_to_bytes(PyObject* module, PyObject* source) noexcept;

}  // namespace owngil::workers

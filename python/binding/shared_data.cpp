// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/shared_data.hpp"

#include "ipc/buffer_owner.hpp"
#include "python/binding/gil.hpp"
#include "workers/buffer_collector.hpp"
#include "workers/buffer_object.hpp"

#include <unistd.h>

#include <cstring>
#include <new>

namespace owngil::binding {

using workers::Ref;

namespace {

// One buffer, and the supervisor that has its memory. A child of fork has neither.
class SharedBuffer final : public ipc::BufferOwner {
 public:
  explicit SharedBuffer(runtime::Supervisor& supervisor) : supervisor_(supervisor) {
    supervisor.retain();
  }

  void let_go(ipc::BlockRef block, std::uint64_t pid) noexcept override {
    if (pid == static_cast<std::uint64_t>(::getpid())) {
      supervisor_.unshare_buffer(block);
      supervisor_.release();
    }
    delete this;
  }

 private:
  ~SharedBuffer() = default;

  runtime::Supervisor& supervisor_;
};

// Copies; a read-only memoryview of the copy, or none with an exception set.
Ref put(ModuleState& state, runtime::Supervisor& supervisor, const Py_buffer& view) {
  const auto size = static_cast<std::uint64_t>(view.len);
  std::optional<ipc::BlockRef> block;
  {
    const WithoutGil without_gil;
    block = supervisor.new_buffer(size);
    if (block) std::memcpy(supervisor.buffer_at(*block), view.buf, size);
  }
  if (!block) {
    PyErr_Format(PyExc_MemoryError,
                 "owngil: no shared memory for a buffer of %zd bytes that is to be shared: the "
                 "system has none left, or the arena of this pool is full",
                 view.len);
    return {};
  }
  auto* const owner = new (std::nothrow) SharedBuffer(supervisor);
  if (owner == nullptr) {
    supervisor.drop_buffer(*block);
    PyErr_NoMemory();
    return {};
  }
  supervisor.share_buffer(*block);
  const Ref made =
      workers::make_buffer(state.worker.buffer_type, *owner, *block, supervisor.buffer_at(*block),
                           static_cast<std::uint64_t>(::getpid()));
  return Ref::steal(made ? PyObject_CallMethod(made.get(), "toreadonly", nullptr) : nullptr);
}

}  // namespace

PyObject* share_value(ModuleState& state, runtime::Supervisor& supervisor, PyObject* value) {
  const Ref collector = workers::make_collector(state.worker.collector_type);
  const Ref dump = Ref::steal(collector ? package_function("_pickling", "dump") : nullptr);
  const Ref pickle = Ref::steal(
      dump ? PyObject_CallFunctionObjArgs(dump.get(), value, collector.get(), nullptr) : nullptr);
  const Ref buffers = Ref::steal(pickle ? PyList_New(0) : nullptr);
  if (!buffers) return nullptr;
  const workers::CollectedBuffers& collected = workers::collected(collector.get());
  for (const Py_buffer& view : collected.views) {
    const Ref buffer = put(state, supervisor, view);
    if (!buffer || PyList_Append(buffers.get(), buffer.get()) < 0) return nullptr;
  }
  return Py_BuildValue("(OOO)", pickle.get(), collected.direct.empty() ? Py_False : Py_True,
                       buffers.get());
}

}  // namespace owngil::binding

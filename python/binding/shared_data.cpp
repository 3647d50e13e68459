// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/shared_data.hpp"

#include "python/binding/gil.hpp"
#include "runtime/result_arena.hpp"
#include "workers/buffer_collector.hpp"
#include "workers/buffer_object.hpp"

#include <cstring>
#include <new>
#include <optional>
#include <system_error>

namespace owngil::binding {

using runtime::SharedBlock;
using workers::Ref;

namespace {

struct SharedBufferObject {
  PyObject_HEAD SharedBlock* block;
  std::uint32_t generation;  // see is_ours()
};

SharedBufferObject* cast(PyObject* object) { return reinterpret_cast<SharedBufferObject*>(object); }

int get_buffer(PyObject* object, Py_buffer* view, int flags) {
  const SharedBlock* const block = cast(object)->block;
  return PyBuffer_FillInfo(view, object, block->data(), static_cast<Py_ssize_t>(block->name().size),
                           1, flags);
}

void dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  if (is_ours(state_of(type), cast(object)->generation)) cast(object)->block->release();
  type->tp_free(object);
  Py_DECREF(type);
}

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("Shared memory that does not change; for reading only.")},
    {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {"owngil._core.SharedBuffer", sizeof(SharedBufferObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

// The memory of this process; nullptr: an exception is set.
runtime::SharedMemory* memory(ModuleState& state, std::size_t arena_size) {
  if (state.shared != nullptr) return state.shared;
  try {
    state.shared = new runtime::SharedMemory(arena_size);
  } catch (const std::system_error& error) {
    PyErr_Format(error.code().value() == ENOMEM ? PyExc_MemoryError : PyExc_OSError,
                 "owngil: no shared memory: %s", error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return state.shared;
}

void refuse(const runtime::SharedMemory& memory, std::uint64_t in_use, std::size_t size) {
  PyErr_Format(PyExc_MemoryError,
               "owngil: no shared memory for %zu bytes that are to be shared: %llu of at most %llu "
               "are in use, or the system has none left",
               size, static_cast<unsigned long long>(in_use),
               static_cast<unsigned long long>(memory.size()));
}

// The buffer as shared memory: the one that it is already, a part of what lies in memory that tasks
// can be given, or a copy. None: an exception is set.
Ref shared(ModuleState& state, const Py_buffer& view) {
  const auto size = static_cast<std::size_t>(view.len);
  if (view.obj != nullptr && shared_block(state, view.obj) != nullptr) return Ref::borrow(view.obj);
  SharedBlock* block = nullptr;
  std::uint64_t in_use = 0;
  try {
    const WithoutGil without_gil;
    block = state.shared->freeze(view.buf, size);
    if (block == nullptr) block = runtime::ResultArena::freeze(view.buf, size);
    if (block == nullptr) block = state.shared->put(view.buf, size);
    if (block == nullptr) in_use = state.shared->in_use();
  } catch (const std::bad_alloc&) {
  }
  if (block == nullptr) {
    refuse(*state.shared, in_use, size);
    return {};
  }
  auto* const self = PyObject_New(SharedBufferObject, state.shared_buffer_type);
  if (self == nullptr) {
    block->release();
    return {};
  }
  self->block = block;
  self->generation = state.generation;
  return Ref::steal(reinterpret_cast<PyObject*>(self));
}

}  // namespace

SharedBlock* shared_block(const ModuleState& state, PyObject* object) {
  if (Py_TYPE(object) != state.shared_buffer_type) return nullptr;
  return is_ours(&state, cast(object)->generation) ? cast(object)->block : nullptr;
}

PyObject* share_value(PyObject* module, PyObject* const* args, Py_ssize_t nargs) {
  auto& state = *static_cast<ModuleState*>(PyModule_GetState(module));
  if (nargs != 2) {
    PyErr_SetString(PyExc_TypeError, "share_value(value, arena_size)");
    return nullptr;
  }
  const std::size_t arena_size = PyLong_AsSize_t(args[1]);
  if (PyErr_Occurred() || memory(state, arena_size) == nullptr) return nullptr;
  const Ref collector = workers::make_collector(state.worker.collector_type);
  const Ref dump = Ref::steal(collector ? package_function("_pickling", "dump") : nullptr);
  const Ref pickle = Ref::steal(
      dump ? PyObject_CallFunctionObjArgs(dump.get(), args[0], collector.get(), nullptr) : nullptr);
  const Ref buffers = Ref::steal(pickle ? PyList_New(0) : nullptr);
  if (!buffers) return nullptr;
  const workers::CollectedBuffers& collected = workers::collected(collector.get());
  for (const Py_buffer& view : collected.views) {
    const Ref buffer = shared(state, view);
    if (!buffer || PyList_Append(buffers.get(), buffer.get()) < 0) return nullptr;
  }
  return Py_BuildValue("(OOO)", pickle.get(), collected.direct.empty() ? Py_False : Py_True,
                       buffers.get());
}

PyObject* make_shared(PyObject* module, PyObject* const* args, Py_ssize_t nargs) {
  auto& state = *static_cast<ModuleState*>(PyModule_GetState(module));
  if (nargs != 3) {
    PyErr_SetString(PyExc_TypeError, "make_shared(size, zeroed, arena_size)");
    return nullptr;
  }
  const std::size_t size = PyLong_AsSize_t(args[0]);
  const std::size_t arena_size = PyLong_AsSize_t(args[2]);
  if (PyErr_Occurred() || memory(state, arena_size) == nullptr) return nullptr;
  std::optional<ipc::BlockRef> block;
  std::uint64_t in_use = 0;
  {
    const WithoutGil without_gil;
    block = state.shared->make(size);
    if (!block) {
      in_use = state.shared->in_use();
    } else if (args[1] == Py_True) {
      std::memset(state.shared->at(*block), 0, size);
    }
  }
  if (!block) {
    refuse(*state.shared, in_use, size);
    return nullptr;
  }
  return workers::make_buffer(state.worker.buffer_type, *state.shared, *block,
                              state.shared->at(*block), state.shared->stamp())
      .release();
}

bool add_shared_buffer_type(PyObject* module, ModuleState& state) {
  state.shared_buffer_type =
      reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return state.shared_buffer_type != nullptr;
}

}  // namespace owngil::binding

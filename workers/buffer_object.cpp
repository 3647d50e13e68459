// SPDX-License-Identifier: BSD-3-Clause
#include "workers/buffer_object.hpp"

#include <sys/mman.h>

#include <cstring>

namespace owngil::workers {
namespace {

struct BufferObject {
  PyObject_HEAD ipc::BufferOwner* owner;
  ipc::BlockRef block;
  std::byte* data;
  std::uint64_t stamp;
};

BufferObject* cast(PyObject* object) { return reinterpret_cast<BufferObject*>(object); }

int get_buffer(PyObject* object, Py_buffer* view, int flags) {
  BufferObject* self = cast(object);
  return PyBuffer_FillInfo(view, object, self->data, static_cast<Py_ssize_t>(self->block.size), 0,
                           flags);
}

void dealloc(PyObject* object) {
  BufferObject* self = cast(object);
  self->owner->let_go(self->block, self->stamp);
  PyTypeObject* type = Py_TYPE(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A large buffer in shared memory.")},
    {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {"owngil._core.Buffer", sizeof(BufferObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

PyTypeObject* make_buffer_type(PyObject* module) noexcept {
  return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

// New memory of many MiB costs more to be mapped, page by page, than to be filled.
PyObject* copy_to_bytes(PyObject*, PyObject* source) noexcept {
  constexpr std::uintptr_t kHugePage = std::uintptr_t{2} << 20;
  Py_buffer view;
  if (PyObject_GetBuffer(source, &view, PyBUF_SIMPLE) < 0) return nullptr;
  PyObject* const copy = PyBytes_FromStringAndSize(nullptr, view.len);
  if (copy != nullptr) {
    char* const data = PyBytes_AS_STRING(copy);
    const auto size = static_cast<std::size_t>(view.len);
    const auto begin = reinterpret_cast<std::uintptr_t>(data);
    const std::uintptr_t first = (begin + kHugePage - 1) / kHugePage * kHugePage;
    const std::uintptr_t last = (begin + size) / kHugePage * kHugePage;
    // A hint: whether there are such pages is the system's to say.
    if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
    std::memcpy(data, view.buf, size);
  }
  PyBuffer_Release(&view);
  return copy;
}

Ref make_buffer(PyTypeObject* type, ipc::BufferOwner& owner, ipc::BlockRef block, std::byte* data,
                std::uint64_t stamp) noexcept {
  auto* const self = PyObject_New(BufferObject, type);
  if (self == nullptr) {
    owner.let_go(block, stamp);
    return {};
  }
  self->owner = &owner;
  self->block = block;
  self->data = data;
  self->stamp = stamp;
  const Ref buffer = Ref::steal(reinterpret_cast<PyObject*>(self));
  return Ref::steal(PyMemoryView_FromObject(buffer.get()));
}

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
#include "workers/buffer_collector.hpp"

#include "ipc/buffer_list.hpp"

#include <cstring>
#include <new>
#include <utility>

namespace owngil::workers {
namespace {

// What is deeper, or behind more than this, travels as pickle has it.
constexpr int kSearchDepth = 3;
constexpr int kSearchObjects = 256;

struct CollectorObject {
  PyObject_HEAD CollectedBuffers* collected;
};

CollectorObject* cast(PyObject* object) { return reinterpret_cast<CollectorObject*>(object); }

bool is_array(PyObject* object) {
  return std::strcmp(Py_TYPE(object)->tp_name, "array.array") == 0;
}

std::size_t length_of(PyObject* object) {
  Py_buffer view;
  if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
    PyErr_Clear();
    return 0;
  }
  const auto length = static_cast<std::size_t>(view.len);
  PyBuffer_Release(&view);
  return length;
}

// One that can be made anew: memoryview.cast() takes its format.
bool is_plain_view(PyObject* object) {
  const Py_buffer* const view = PyMemoryView_GET_BUFFER(object);
  return PyBuffer_IsContiguous(view, 'C') != 0 && view->format != nullptr &&
         std::strlen(view->format) == 1 && view->ndim > 0;
}

// What pickle would copy, or refuse, though it is nothing but bytes.
bool is_direct(PyObject* object) {
  if (PyBytes_CheckExact(object)) {
    return static_cast<std::size_t>(PyBytes_GET_SIZE(object)) >= ipc::kLeastBuffer;
  }
  if (PyByteArray_CheckExact(object)) {
    return static_cast<std::size_t>(PyByteArray_GET_SIZE(object)) >= ipc::kLeastBuffer;
  }
  if (PyMemoryView_Check(object)) return is_plain_view(object);
  return Py_TYPE(object)->tp_as_buffer != nullptr && is_array(object) &&
         length_of(object) >= ipc::kLeastBuffer;
}

bool search(PyObject* object, int depth, int& left) {
  if (left-- <= 0) return false;
  if (is_direct(object)) return true;
  if (depth == 0) return false;
  if (PyTuple_CheckExact(object) || PyList_CheckExact(object)) {
    const Py_ssize_t size = PySequence_Fast_GET_SIZE(object);
    for (Py_ssize_t i = 0; i < size && left > 0; ++i) {
      if (search(PySequence_Fast_GET_ITEM(object, i), depth - 1, left)) return true;
    }
  } else if (PyDict_CheckExact(object)) {
    Py_ssize_t position = 0;
    PyObject* value = nullptr;
    while (left > 0 && PyDict_Next(object, &position, nullptr, &value) != 0) {
      if (search(value, depth - 1, left)) return true;
    }
  }
  return false;
}

PyObject* has_direct(PyObject*, PyObject* value) {
  int left = kSearchObjects;
  return PyBool_FromLong(search(value, kSearchDepth, left));
}

// -> None, or (kind, PickleBuffer, how to make it anew), or the number of one that is there already
PyObject* persistent_id(PyObject* object, PyObject* value) {
  if (!is_direct(value)) Py_RETURN_NONE;
  std::vector<PyObject*>& direct = cast(object)->collected->direct;
  for (std::size_t i = 0; i != direct.size(); ++i) {
    if (direct[i] == value) return PyLong_FromSize_t(i);
  }
  const Ref buffer = Ref::steal(PyPickleBuffer_FromObject(value));
  if (!buffer) return nullptr;
  Ref id;
  if (PyBytes_CheckExact(value)) {
    id = Ref::steal(Py_BuildValue("(sO)", "bytes", buffer.get()));
  } else if (PyByteArray_CheckExact(value)) {
    id = Ref::steal(Py_BuildValue("(sO)", "bytearray", buffer.get()));
  } else if (PyMemoryView_Check(value)) {
    const Py_buffer* const view = PyMemoryView_GET_BUFFER(value);
    const Ref shape = Ref::steal(PyObject_GetAttrString(value, "shape"));
    if (shape) {
      id = Ref::steal(Py_BuildValue("(sOsOO)", "memoryview", buffer.get(), view->format,
                                    shape.get(), view->readonly != 0 ? Py_True : Py_False));
    }
  } else {
    const Ref code = Ref::steal(PyObject_GetAttrString(value, "typecode"));
    if (code) id = Ref::steal(Py_BuildValue("(sOO)", "array", buffer.get(), code.get()));
  }
  if (!id) return nullptr;
  try {
    direct.push_back(value);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  Py_INCREF(value);
  return id.release();
}

// (PickleBuffer) -> whether it is to go in-band
PyObject* call(PyObject* object, PyObject* args, PyObject* kwargs) {
  PyObject* buffer = nullptr;
  if (kwargs != nullptr || !PyArg_ParseTuple(args, "O", &buffer)) return nullptr;
  Py_buffer view;
  if (PyObject_GetBuffer(buffer, &view, PyBUF_FULL_RO) < 0) return nullptr;
  if (static_cast<std::size_t>(view.len) < ipc::kLeastBuffer ||
      PyBuffer_IsContiguous(&view, 'A') == 0) {
    PyBuffer_Release(&view);
    Py_RETURN_TRUE;
  }
  try {
    cast(object)->collected->views.push_back(view);
  } catch (const std::bad_alloc&) {
    PyBuffer_Release(&view);
    return PyErr_NoMemory();
  }
  Py_RETURN_FALSE;
}

PyObject* clear(PyObject* object, PyObject*) {
  cast(object)->collected->clear();
  Py_RETURN_NONE;
}

void dealloc(PyObject* object) {
  delete cast(object)->collected;
  PyTypeObject* type = Py_TYPE(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"has_direct", has_direct, METH_O, nullptr},
    {"persistent_id", persistent_id, METH_O, nullptr},
    {"clear", clear, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("Takes the large buffers out of a pickle.")},
    {Py_tp_methods, methods},
    {Py_tp_call, reinterpret_cast<void*>(call)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {"owngil._core.BufferCollector", sizeof(CollectorObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

// What it lets go of may run Python that looks here.
void CollectedBuffers::clear() noexcept {
  std::vector<Py_buffer> old_views = std::exchange(views, {});
  std::vector<PyObject*> old_direct = std::exchange(direct, {});
  for (Py_buffer& view : old_views) PyBuffer_Release(&view);
  for (PyObject* object : old_direct) Py_DECREF(object);
}

PyTypeObject* make_collector_type(PyObject* module) noexcept {
  return reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
}

Ref make_collector(PyTypeObject* type) noexcept {
  auto* const self = PyObject_New(CollectorObject, type);
  if (self == nullptr) return {};
  self->collected = new (std::nothrow) CollectedBuffers;
  Ref owner = Ref::steal(reinterpret_cast<PyObject*>(self));
  if (self->collected == nullptr) {
    PyErr_NoMemory();
    return {};
  }
  return owner;
}

CollectedBuffers& collected(PyObject* collector) noexcept { return *cast(collector)->collected; }

}  // namespace owngil::workers

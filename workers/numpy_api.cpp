// SPDX-License-Identifier: BSD-3-Clause
#include "workers/numpy_api.hpp"

#include "workers/codec_format.hpp"

#include <atomic>
#include <cstring>

namespace owngil::workers {
namespace {

// Places in NumPy's table.
constexpr std::size_t kArrayType = 2;
constexpr std::size_t kDescrFromType = 45;
constexpr std::size_t kNewFromDescr = 94;
constexpr std::size_t kSetBaseObject = 282;

// The part of NumPy's structs that its own headers let extension modules look into, and therefore
// is the same in all versions.
struct Array {
  PyObject_HEAD void* data;
  int dimensions;
  Py_ssize_t* shape;
  Py_ssize_t* strides;
  PyObject* base;
  PyObject* element_type;
  int flags;
};
struct ElementDescr {
  PyObject_HEAD PyTypeObject* type;
  char kind;
  char letter;
  char byte_order;
  char flags;
  int number;
};
constexpr int kInCOrder = 0x0001;
constexpr int kAligned = 0x0100;
constexpr int kWriteable = 0x0400;

const Array& fields(PyObject* array) { return *reinterpret_cast<const Array*>(array); }

// The first interpreter that had it loaded. Others with GILs of their own cannot load it, and may
// not use it, but they may look here.
std::atomic<PyInterpreterState*> found_in{nullptr};
std::atomic<NumpyTable> found_table{nullptr};

NumpyTable find_table() {
  PyObject* const modules = PyImport_GetModuleDict();  // borrowed
  for (const char* name : {"numpy._core._multiarray_umath", "numpy.core._multiarray_umath"}) {
    PyObject* const module = PyDict_GetItemString(modules, name);
    if (module == nullptr) continue;
    const Ref capsule = Ref::steal(PyObject_GetAttrString(module, "_ARRAY_API"));
    void* const table =
        capsule ? PyCapsule_GetPointer(capsule.get(), PyCapsule_GetName(capsule.get())) : nullptr;
    if (table != nullptr) return static_cast<NumpyTable>(table);
    PyErr_Clear();
  }
  return nullptr;
}

PyTypeObject* array_type(NumpyTable table) { return static_cast<PyTypeObject*>(table[kArrayType]); }

// What NumPy has one object for, this thread's to let go of.
PyObject* descr_of(NumpyTable table, int number) {
  return reinterpret_cast<PyObject* (*)(int)>(table[kDescrFromType])(number);
}

// Whether it says no more than its number does. What was unpickled is another object than NumPy's.
bool is_plain(NumpyTable table, PyObject* descr) {
  const auto& element = *reinterpret_cast<const ElementDescr*>(descr);
  if (element.number < 0 || element.number > UINT8_MAX ||
      element_type(static_cast<std::uint8_t>(element.number)).size == 0) {
    return false;
  }
  const Ref known = Ref::steal(descr_of(table, element.number));
  if (known.get() == descr) return true;
  if (!known || element.byte_order != reinterpret_cast<ElementDescr*>(known.get())->byte_order) {
    PyErr_Clear();
    return false;
  }
  const Ref metadata = Ref::steal(PyObject_GetAttrString(descr, "metadata"));
  if (!metadata) PyErr_Clear();
  return metadata.get() == Py_None;
}

PyObject* new_array(std::uint8_t element, std::span<const Py_ssize_t> shape, void* data) {
  using NewFromDescr = PyObject* (*)(PyTypeObject*, PyObject*, int, const Py_ssize_t*,
                                     const Py_ssize_t*, void*, int, PyObject*);
  NumpyTable const table = numpy_table();
  PyObject* const descr = descr_of(table, element);
  if (descr == nullptr) return nullptr;
  const int flags = data != nullptr ? kInCOrder | kAligned | kWriteable : 0;
  return reinterpret_cast<NewFromDescr>(table[kNewFromDescr])(
      array_type(table), descr, static_cast<int>(shape.size()), shape.data(), nullptr, data, flags,
      nullptr);
}

}  // namespace

// Relaxed: whoever finds its own interpreter there has stored the table itself, or has got the GIL
// from who did.
NumpyTable numpy_table() noexcept {
  PyInterpreterState* const here = PyInterpreterState_Get();
  if (found_in.load(std::memory_order_relaxed) == here) {
    return found_table.load(std::memory_order_relaxed);
  }
  NumpyTable const table = find_table();
  PyInterpreterState* nobody = nullptr;
  if (table != nullptr &&
      found_in.compare_exchange_strong(nobody, here, std::memory_order_relaxed)) {
    found_table.store(table, std::memory_order_relaxed);
  }
  return table;
}

bool load_numpy() noexcept {
  if (!Ref::steal(PyImport_ImportModule("numpy"))) return false;
  if (numpy_table() != nullptr) return true;
  PyErr_SetString(PyExc_ImportError, "owngil: what is imported as numpy has no arrays");
  return false;
}

std::optional<PlainArray> plain_array(PyObject* object) noexcept {
  NumpyTable table = found_table.load(std::memory_order_relaxed);  // one for the whole process
  if (table == nullptr) {
    if (std::strcmp(Py_TYPE(object)->tp_name, "numpy.ndarray") != 0) return std::nullopt;
    table = numpy_table();
  }
  if (table == nullptr || Py_TYPE(object) != array_type(table)) return std::nullopt;
  const Array& array = fields(object);
  if ((array.flags & kInCOrder) == 0 || !is_plain(table, array.element_type)) return std::nullopt;
  const auto number =
      static_cast<std::uint8_t>(reinterpret_cast<const ElementDescr*>(array.element_type)->number);
  PlainArray plain{number,
                   {array.shape, static_cast<std::size_t>(array.dimensions)},
                   array.data,
                   element_type(number).size,
                   (array.flags & kWriteable) == 0};
  if (plain.shape.size() > kCodecMaxDimensions) return std::nullopt;
  for (const Py_ssize_t length : plain.shape) plain.size *= static_cast<std::size_t>(length);
  return plain;
}

PyObject* make_array(std::uint8_t element, std::span<const Py_ssize_t> shape) noexcept {
  return new_array(element, shape, nullptr);
}

PyObject* make_array_over(std::uint8_t element, std::span<const Py_ssize_t> shape, void* data,
                          Ref base) noexcept {
  using SetBaseObject = int (*)(PyObject*, PyObject*);
  Ref array = Ref::steal(new_array(element, shape, data));
  if (!array) return nullptr;
  const auto set = reinterpret_cast<SetBaseObject>(numpy_table()[kSetBaseObject]);
  if (set(array.get(), base.release()) < 0) return nullptr;
  return array.release();
}

void* array_data(PyObject* array) noexcept { return fields(array).data; }

void make_read_only(PyObject* array) noexcept {
  reinterpret_cast<Array*>(array)->flags &= ~kWriteable;
}

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
#include "workers/page_sharing.hpp"

#include "workers/python.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace owngil::workers {
namespace {

// --- objects

const std::array kTypesOfPrograms = {
    &PyUnicode_Type,     &PyBytes_Type,        &PyLong_Type,
    &PyFloat_Type,       &PyTuple_Type,        &PyFrozenSet_Type,
    &PyCode_Type,        &PyFunction_Type,     &PyCell_Type,
    &PyCFunction_Type,   &PyMethodDescr_Type,  &PyGetSetDescr_Type,
    &PyMemberDescr_Type, &PyWrapperDescr_Type, &PyClassMethodDescr_Type,
    &PyClassMethod_Type, &PyStaticMethod_Type, &PyProperty_Type,
    &PyModule_Type,
};

bool is_of_program(PyObject* object) {
  return PyType_Check(object) ||
         std::ranges::find(kTypesOfPrograms, Py_TYPE(object)) != kTypesOfPrograms.end();
}

// An object with a finalizer stays mortal: that shall run when its module is torn down.
bool has_finalizer(PyObject* object) {
  return Py_TYPE(object)->tp_finalize != nullptr || Py_TYPE(object)->tp_del != nullptr;
}

bool is_lasting(const PyObject* object) { return object->ob_refcnt == Py_None->ob_refcnt; }

// As None: a count that Python takes for immortal, and therefore neither raises nor lowers.
void make_last_if(PyObject* object, Lasting which) {
  if (which == Lasting::everything ? !has_finalizer(object) : is_of_program(object)) {
    object->ob_refcnt = Py_None->ob_refcnt;
  }
}

void make_all_last(PyObject* object, Lasting which);

int visit_referent(PyObject* object, void* which) {
  // The others come by themselves.
  if (!PyObject_IS_GC(object) || !PyObject_GC_IsTracked(object)) {
    make_all_last(object, *static_cast<Lasting*>(which));
  }
  return 0;
}

// Of an object that the collector does not know, with all that it alone leads to.
void make_all_last(PyObject* object, Lasting which) {
  if (is_lasting(object)) return;
  make_last_if(object, which);
  if (PyCode_Check(object)) {
    const auto* const code = reinterpret_cast<PyCodeObject*>(object);
    for (PyObject* const part :
         {code->co_consts, code->co_names, code->co_localsplusnames, code->co_localspluskinds,
          code->co_exceptiontable, code->co_linetable, code->co_filename, code->co_name,
          code->co_qualname}) {
      visit_referent(part, &which);
    }
  } else if (PyObject_IS_GC(object)) {  // a static class is not, though its kind can be traversed
    Py_TYPE(object)->tp_traverse(object, visit_referent, &which);
  }
}

int visit_collected(PyObject* object, void* which) {
  make_last_if(object, *static_cast<Lasting*>(which));
  Py_TYPE(object)->tp_traverse(object, visit_referent, which);
  return 1;  // go on
}

// --- gaps

// Of pymalloc: objects of one size lie in pools, which begin with a header.
constexpr std::size_t kLargestPooled = 512;
constexpr std::size_t kPoolBytes = std::size_t{16} << 10;
constexpr std::size_t kPoolHeaderBytes = 48;
// Of malloc: smaller than what it maps by itself, larger than most gaps.
constexpr std::size_t kLargeBlock = std::size_t{100} << 10;
constexpr std::size_t kLargestGap = std::size_t{4} << 10;
constexpr std::size_t kStep = 16;
// With another allocator than these the gaps have no end that can be seen.
constexpr std::size_t kLimit = std::size_t{1} << 20;

bool begins_pool(const void* block) {
  return reinterpret_cast<std::uintptr_t>(block) % kPoolBytes == kPoolHeaderBytes;
}

void close_gaps_between_objects() {
  std::size_t taken = 0;
  for (std::size_t size = kStep; size <= kLargestPooled; size += kStep) {
    for (void* block = nullptr; taken < kLimit; taken += size) {
      block = PyObject_Malloc(size);
      if (block == nullptr || begins_pool(block)) {
        PyObject_Free(block);
        break;
      }
    }
  }
}

void close_gaps_between_blocks() {
  void* const large = std::malloc(kLargeBlock);
  const auto end = reinterpret_cast<std::uintptr_t>(large);  // what is used lies before it
  std::free(large);
  std::size_t taken = 0;
  for (std::size_t size = kLargestGap; size >= kStep; size -= kStep) {
    for (void* block = nullptr; taken < kLimit; taken += size) {
      block = std::malloc(size);
      if (block == nullptr || reinterpret_cast<std::uintptr_t>(block) >= end) {
        std::free(block);
        break;
      }
    }
  }
}

}  // namespace

void make_last(Lasting which) noexcept { PyUnstable_GC_VisitObjects(visit_collected, &which); }

void close_gaps() noexcept {
  close_gaps_between_objects();
  close_gaps_between_blocks();
}

}  // namespace owngil::workers

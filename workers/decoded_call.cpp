// SPDX-License-Identifier: BSD-3-Clause
#include "workers/decoded_call.hpp"

#include <cstdlib>

namespace owngil::workers {

bool DecodedCall::reserve(std::size_t count) noexcept {
  if (count <= kInlineArguments) return true;
  if (count > PY_SSIZE_T_MAX / sizeof(PyObject*) - 1) {
    PyErr_NoMemory();
    return false;
  }
  heap_ = static_cast<PyObject**>(std::malloc((count + 1) * sizeof(PyObject*)));
  if (heap_ == nullptr) {
    PyErr_NoMemory();
    return false;
  }
  slots_ = heap_;
  return true;
}

void DecodedCall::leave_heap() noexcept {
  std::free(std::exchange(heap_, nullptr));
  slots_ = inline_.data();
}

bool DecodedCall::assign(PyObject* args_tuple, PyObject* kwargs_dict) noexcept {
  const bool has_keywords = kwargs_dict != nullptr && kwargs_dict != Py_None;
  if (!PyTuple_Check(args_tuple) || (has_keywords && !PyDict_Check(kwargs_dict))) {
    PyErr_SetString(PyExc_TypeError, "a call is a tuple of arguments and a dict of keywords");
    return false;
  }
  const auto positional = static_cast<std::size_t>(PyTuple_GET_SIZE(args_tuple));
  const Py_ssize_t keywords = has_keywords ? PyDict_GET_SIZE(kwargs_dict) : 0;
  if (!reserve(positional + static_cast<std::size_t>(keywords))) return false;
  for (std::size_t i = 0; i != positional; ++i) {
    push(Py_NewRef(PyTuple_GET_ITEM(args_tuple, static_cast<Py_ssize_t>(i))));
  }
  set_positional_count(positional);
  if (keywords == 0) return true;

  Ref names = Ref::steal(PyTuple_New(keywords));
  if (!names) {
    clear();
    return false;
  }
  Py_ssize_t at = 0;
  Py_ssize_t index = 0;
  PyObject* name = nullptr;
  PyObject* value = nullptr;
  while (PyDict_Next(kwargs_dict, &at, &name, &value)) {
    if (!PyUnicode_Check(name)) {
      PyErr_SetString(PyExc_TypeError, "keywords must be strings");
      clear();
      return false;
    }
    PyTuple_SET_ITEM(names.get(), index++, Py_NewRef(name));
    push(Py_NewRef(value));
  }
  set_keyword_names(names.release());
  return true;
}

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/output.hpp"

#include "python/binding/gil.hpp"

#include <sys/prctl.h>

#include <cstddef>
#include <new>
#include <span>
#include <vector>

namespace owngil::binding {

using runtime::OutputPipes;
using workers::Ref;

namespace {

const ModuleState& state_of_module(PyObject* module) {
  return *static_cast<const ModuleState*>(PyModule_GetState(module));
}

// next_output() -> [(worker, stream), ...]; None: close_output() was called, or there is no pool.
PyObject* next_output(PyObject* module, PyObject*) {
  const ModuleState& state = state_of_module(module);
  if (state.runtime == nullptr) Py_RETURN_NONE;
  OutputPipes& output = state.runtime->output();
  std::vector<OutputPipes::Ready> ready;
  bool open = false;
  {
    const WithoutGil without_gil;
    open = output.wait(ready);
  }
  if (!open) Py_RETURN_NONE;
  const Ref list = Ref::steal(PyList_New(0));
  if (!list) return nullptr;
  for (const OutputPipes::Ready& one : ready) {
    const Ref pair = Ref::steal(Py_BuildValue("(Ki)", static_cast<unsigned long long>(one.key),
                                              static_cast<int>(one.stream)));
    if (!pair || PyList_Append(list.get(), pair.get()) < 0) return nullptr;
  }
  return Py_NewRef(list.get());
}

// read_output(worker, stream) -> what is there now, b"" if nothing is; None: no more will come.
PyObject* read_output(PyObject* module, PyObject* arguments) {
  unsigned long long key = 0;
  int stream = 0;
  if (!PyArg_ParseTuple(arguments, "Ki", &key, &stream)) return nullptr;
  const ModuleState& state = state_of_module(module);
  if (state.runtime == nullptr) Py_RETURN_NONE;
  // As large as the pipe: one read takes all that there is.
  PyObject* bytes = PyBytes_FromStringAndSize(nullptr, OutputPipes::kPipeBytes);
  if (bytes == nullptr) return nullptr;
  const std::span<char> into(PyBytes_AS_STRING(bytes), OutputPipes::kPipeBytes);
  std::size_t size = 0;
  const OutputPipes::Ready from{key, static_cast<OutputPipes::Stream>(stream)};
  if (state.runtime->output().read(from, std::as_writable_bytes(into), size) ==
      OutputPipes::Got::end) {
    Py_DECREF(bytes);
    Py_RETURN_NONE;
  }
  static_cast<void>(_PyBytes_Resize(&bytes, static_cast<Py_ssize_t>(size)));  // null: raised
  return bytes;
}

// Around read_output() and the showing of all that it gave.
PyObject* begin_holding_text(PyObject* module, PyObject*) {
  const ModuleState& state = state_of_module(module);
  if (state.runtime != nullptr) state.runtime->output().begin_holding_text();
  Py_RETURN_NONE;
}

PyObject* end_holding_text(PyObject* module, PyObject*) {
  const ModuleState& state = state_of_module(module);
  if (state.runtime != nullptr) state.runtime->output().end_holding_text();
  Py_RETURN_NONE;
}

// Of workers that may have something to be read.
PyObject* output_workers(PyObject* module, PyObject*) {
  const ModuleState& state = state_of_module(module);
  const Ref list = Ref::steal(PyList_New(0));
  if (!list || state.runtime == nullptr) return Py_XNewRef(list.get());
  for (const std::uint64_t key : state.runtime->output().keys()) {
    const Ref number = Ref::steal(PyLong_FromUnsignedLongLong(key));
    if (!number || PyList_Append(list.get(), number.get()) < 0) return nullptr;
  }
  return Py_NewRef(list.get());
}

// has_output(worker) -> whether anything can still come from it.
PyObject* has_output(PyObject* module, PyObject* worker) {
  const unsigned long long key = PyLong_AsUnsignedLongLong(worker);
  if (key == static_cast<unsigned long long>(-1) && PyErr_Occurred() != nullptr) return nullptr;
  const ModuleState& state = state_of_module(module);
  return PyBool_FromLong(state.runtime != nullptr && state.runtime->output().is_open(key));
}

PyObject* close_output(PyObject* module, PyObject*) {
  const ModuleState& state = state_of_module(module);
  if (state.runtime != nullptr) state.runtime->output().close();
  Py_RETURN_NONE;
}

// As ps and top show it; Python sets names of threads from 3.14 on only.
PyObject* name_thread(PyObject*, PyObject* name) {
  const char* const text = PyUnicode_AsUTF8(name);
  if (text == nullptr) return nullptr;
  ::prctl(PR_SET_NAME, text);
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"next_output", next_output, METH_NOARGS, nullptr},
    {"read_output", read_output, METH_VARARGS, nullptr},
    {"begin_holding_text", begin_holding_text, METH_NOARGS, nullptr},
    {"end_holding_text", end_holding_text, METH_NOARGS, nullptr},
    {"output_workers", output_workers, METH_NOARGS, nullptr},
    {"has_output", has_output, METH_O, nullptr},
    {"close_output", close_output, METH_NOARGS, nullptr},
    {"name_thread", name_thread, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool show_output_of(ModuleState& state, std::uint64_t worker) {
  if (state.show_output == nullptr) {
    state.show_output = package_function("_output", "show");
    if (state.show_output == nullptr) return false;
  }
  const Ref number = Ref::steal(PyLong_FromUnsignedLongLong(worker));
  const Ref shown =
      Ref::steal(number ? PyObject_CallOneArg(state.show_output, number.get()) : nullptr);
  return static_cast<bool>(shown);
}

bool add_output_methods(PyObject* module) { return PyModule_AddFunctions(module, methods) == 0; }

}  // namespace owngil::binding

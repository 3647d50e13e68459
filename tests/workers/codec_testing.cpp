// SPDX-License-Identifier: BSD-3-Clause
// The codec as a Python module, so that tests can throw any value and any bytes at it.
//
// Not: part of the package. It is built with the tests and imported by test_codec.py alone.
#include "workers/codec.hpp"
#include "workers/numpy_api.hpp"

#include <cstddef>
#include <span>

namespace {

using owngil::workers::ByteBuffer;
using owngil::workers::DecodedCall;
using owngil::workers::Encoded;
using owngil::workers::Ref;

// Never destroyed: the interpreter would be gone by then.
owngil::workers::ShortStrings& strings() {
  static auto& kept = *new owngil::workers::ShortStrings;
  return kept;
}

// bytes; None: unsupported.
PyObject* to_python(Encoded result, const ByteBuffer& buffer) {
  switch (result) {
    case Encoded::ok: break;
    case Encoded::unsupported: return Py_NewRef(Py_None);
    case Encoded::error: return nullptr;
  }
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(buffer.data()),
                                   static_cast<Py_ssize_t>(buffer.size()));
}

bool get_bytes(PyObject* object, std::span<const std::byte>& bytes) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(object, &data, &size) < 0) return false;
  bytes = std::as_bytes(std::span(data, static_cast<std::size_t>(size)));
  return true;
}

PyObject* encode_value(PyObject*, PyObject* value) {
  ByteBuffer buffer;
  return to_python(owngil::workers::encode_value(value, buffer), buffer);
}

PyObject* decode_value(PyObject*, PyObject* object) {
  std::span<const std::byte> bytes;
  if (!get_bytes(object, bytes)) return nullptr;
  PyObject* const value = owngil::workers::decode_value(bytes, &strings());
  if (value != nullptr || PyErr_Occurred() || !owngil::workers::load_numpy()) return value;
  return owngil::workers::decode_value(bytes, &strings());
}

// encode_call(*args, **kwargs), as a vectorcall
PyObject* encode_call(PyObject*, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  ByteBuffer buffer;
  return to_python(
      owngil::workers::encode_call(args, static_cast<std::size_t>(count), names, buffer), buffer);
}

// encode_call_of(args, kwargs)
PyObject* encode_call_of(PyObject*, PyObject* pair) {
  PyObject* args = nullptr;
  PyObject* kwargs = nullptr;
  if (!PyArg_ParseTuple(pair, "O!O!", &PyTuple_Type, &args, &PyDict_Type, &kwargs)) return nullptr;
  ByteBuffer buffer;
  return to_python(owngil::workers::encode_call(args, kwargs, buffer), buffer);
}

// call_with(function, bytes): what a worker does with them
PyObject* call_with(PyObject*, PyObject* pair) {
  PyObject* function = nullptr;
  PyObject* object = nullptr;
  std::span<const std::byte> bytes;
  if (!PyArg_ParseTuple(pair, "OS", &function, &object) || !get_bytes(object, bytes)) {
    return nullptr;
  }
  DecodedCall call;
  return owngil::workers::decode_call(bytes, call, &strings()) ? call.call(function) : nullptr;
}

// call_pickled_with(function, args, kwargs): the same for a call that came as a tuple and a dict
PyObject* call_pickled_with(PyObject*, PyObject* triple) {
  PyObject* function = nullptr;
  PyObject* args = nullptr;
  PyObject* kwargs = nullptr;
  if (!PyArg_ParseTuple(triple, "OOO", &function, &args, &kwargs)) return nullptr;
  DecodedCall call;
  return call.assign(args, kwargs) ? call.call(function) : nullptr;
}

template <typename Function>
PyCFunction as_function(Function* function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef methods[] = {
    {"encode_value", encode_value, METH_O, nullptr},
    {"decode_value", decode_value, METH_O, nullptr},
    {"encode_call", as_function(encode_call), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"encode_call_of", encode_call_of, METH_VARARGS, nullptr},
    {"call_with", call_with, METH_VARARGS, nullptr},
    {"call_pickled_with", call_pickled_with, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    "owngil_codec_testing",
    nullptr,
    0,
    methods,
    nullptr,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit_owngil_codec_testing() { return PyModuleDef_Init(&definition); }

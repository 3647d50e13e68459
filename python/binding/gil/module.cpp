// SPDX-License-Identifier: BSD-3-Clause
// The module owngil._gil: a count that keeps the GIL, the same that gives it up, and a sampler.
//
// Threads: called with the GIL. Loads in any interpreter: there is no state but the type.
// Not: part of the runtime; only the lab and traces import it.
#include "python/binding/gil/sampler_type.hpp"

namespace {

void count_to(unsigned long long n) {
  for (unsigned long long i = 0; i < n; ++i) {
    asm volatile("" : : "r"(i));  // or the compiler would know the answer
  }
}

// Returns false with an exception set unless the argument is a whole number of 0 or more.
bool parse(PyObject* argument, unsigned long long* n) {
  *n = PyLong_AsUnsignedLongLong(argument);
  return PyErr_Occurred() == nullptr;
}

PyObject* count_holding(PyObject*, PyObject* argument) {
  unsigned long long n = 0;
  if (!parse(argument, &n)) return nullptr;
  count_to(n);
  return PyLong_FromUnsignedLongLong(n);
}

PyObject* count_releasing(PyObject*, PyObject* argument) {
  unsigned long long n = 0;
  if (!parse(argument, &n)) return nullptr;
  Py_BEGIN_ALLOW_THREADS;
  count_to(n);
  Py_END_ALLOW_THREADS;
  return PyLong_FromUnsignedLongLong(n);
}

PyMethodDef methods[] = {
    {"count_holding", count_holding, METH_O, "Count to n and keep the GIL all the while."},
    {"count_releasing", count_releasing, METH_O, "Count to n without the GIL."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(owngil::gil::add_sampler_type)},
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {0, nullptr},
};

PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "owngil._gil",
    .m_doc = "Counting with and without the GIL, and looking at it.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = nullptr,
    .m_clear = nullptr,
    .m_free = nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__gil() { return PyModuleDef_Init(&definition); }

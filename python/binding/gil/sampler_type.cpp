// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/gil/sampler_type.hpp"

#include "python/binding/gil/sampler.hpp"

#include <memory>
#include <new>

namespace owngil::gil {

namespace {

struct SamplerObject {
  PyObject_HEAD std::unique_ptr<Sampler> sampler;
};

SamplerObject* of(PyObject* self) { return reinterpret_cast<SamplerObject*>(self); }

PyObject* sampler_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"interval_ns", "keep_slices", nullptr};
  long long interval_ns = 0;
  int keep_slices = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "L|p", const_cast<char**>(names), &interval_ns,
                                   &keep_slices)) {
    return nullptr;
  }
  if (interval_ns < 1000) {
    PyErr_SetString(PyExc_ValueError, "interval_ns must be at least 1000");
    return nullptr;
  }
  owngil_gil_view view{};
  if (owngil_find_gil(&view) == 0) {
    PyErr_SetString(PyExc_NotImplementedError,
                    "the GIL cannot be looked at: owngil was built without the internal headers "
                    "of this Python");
    return nullptr;
  }
  PyObject* self = type->tp_alloc(type, 0);
  if (self == nullptr) return nullptr;
  new (&of(self)->sampler)
      std::unique_ptr<Sampler>(std::make_unique<Sampler>(view, interval_ns, keep_slices != 0));
  return self;
}

void sampler_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  of(self)->sampler.~unique_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* run(PyObject* self, PyObject* argument) {
  const long long limit_ns = PyLong_AsLongLong(argument);
  if (PyErr_Occurred() != nullptr) return nullptr;
  Py_BEGIN_ALLOW_THREADS;
  of(self)->sampler->run(limit_ns);
  Py_END_ALLOW_THREADS;
  Py_RETURN_NONE;
}

PyObject* stop(PyObject* self, PyObject*) {
  Py_BEGIN_ALLOW_THREADS;
  of(self)->sampler->stop();
  Py_END_ALLOW_THREADS;
  Py_RETURN_NONE;
}

PyObject* counts(const std::map<int, std::uint64_t>& by_thread) {
  PyObject* dict = PyDict_New();
  if (dict == nullptr) return nullptr;
  for (const auto& [thread, count] : by_thread) {
    PyObject* key = PyLong_FromLong(thread);
    PyObject* value = PyLong_FromUnsignedLongLong(count);
    const bool is_set = key != nullptr && value != nullptr && PyDict_SetItem(dict, key, value) == 0;
    Py_XDECREF(key);
    Py_XDECREF(value);
    if (!is_set) {
      Py_DECREF(dict);
      return nullptr;
    }
  }
  return dict;
}

PyObject* slices(const std::vector<Slice>& found) {
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(found.size()));
  if (list == nullptr) return nullptr;
  for (std::size_t i = 0; i < found.size(); ++i) {
    PyObject* slice = Py_BuildValue("(iOLL)", found[i].thread, found[i].holds ? Py_True : Py_False,
                                    static_cast<long long>(found[i].begin_ns),
                                    static_cast<long long>(found[i].end_ns));
    if (slice == nullptr) {
      Py_DECREF(list);
      return nullptr;
    }
    PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), slice);
  }
  return list;
}

PyObject* take(PyObject* self, PyObject*) {
  Sampled found;
  Py_BEGIN_ALLOW_THREADS;
  found = of(self)->sampler->take();
  Py_END_ALLOW_THREADS;
  // "N" takes over the references, and fails if one of them is null.
  return Py_BuildValue("{s:K,s:K,s:K,s:N,s:N,s:K,s:K,s:L,s:O,s:N}", "samples",
                       static_cast<unsigned long long>(found.samples), "held",
                       static_cast<unsigned long long>(found.held), "waited_for",
                       static_cast<unsigned long long>(found.waited_for), "holding",
                       counts(found.holding), "waiting", counts(found.waiting), "switches",
                       static_cast<unsigned long long>(found.switches), "dropped",
                       static_cast<unsigned long long>(found.dropped), "cpu_ns",
                       static_cast<long long>(found.cpu_ns), "sees_waiters",
                       found.sees_waiters ? Py_True : Py_False, "slices", slices(found.slices));
}

PyMethodDef methods[] = {
    {"run", run, METH_O, "Sample for so many nanoseconds, or until stop(), without the GIL."},
    {"stop", stop, METH_NOARGS, "Let run() return."},
    {"take", take, METH_NOARGS, "What was found since the last call, as a dict."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot type_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(sampler_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(sampler_dealloc)},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec type_spec = {
    .name = "owngil._gil.Sampler",
    .basicsize = sizeof(SamplerObject),
    .itemsize = 0,
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = type_slots,
};

}  // namespace

int add_sampler_type(PyObject* module) {
  PyObject* type = PyType_FromModuleAndSpec(module, &type_spec, nullptr);
  if (type == nullptr) return -1;
  const int status = PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(type));
  Py_DECREF(type);
  return status;
}

}  // namespace owngil::gil

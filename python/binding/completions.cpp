// SPDX-License-Identifier: BSD-3-Clause
// _core.Completions: where the dispatcher thread waits for futures that somebody watches.
#include "python/binding/completions.hpp"

#include "python/binding/gil.hpp"
#include "python/binding/module_state.hpp"

#include <vector>

namespace owngil::binding {

namespace {

struct CompletionsObject {
  PyObject_HEAD runtime::Supervisor* supervisor;
};

PyObject* next(PyObject* self, PyObject*) {
  auto* completions = reinterpret_cast<CompletionsObject*>(self);
  std::vector<void*> watchers;
  {
    const WithoutGil without_gil;
    completions->supervisor->next_completions(watchers);
  }
  if (watchers.empty()) Py_RETURN_NONE;
  PyObject* futures = PyList_New(static_cast<Py_ssize_t>(watchers.size()));
  if (futures == nullptr) return nullptr;
  for (std::size_t i = 0; i < watchers.size(); ++i) {
    // The reference that watch() took goes over to the list.
    PyList_SET_ITEM(futures, static_cast<Py_ssize_t>(i), static_cast<PyObject*>(watchers[i]));
  }
  return futures;
}

PyObject* close(PyObject* self, PyObject*) {
  reinterpret_cast<CompletionsObject*>(self)->supervisor->close_completions();
  Py_RETURN_NONE;
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  reinterpret_cast<CompletionsObject*>(self)->supervisor->release();
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"next", next, METH_NOARGS,
     "next()\n--\n\nWaits for completed futures; returns a list of them, or None at the end."},
    {"close", close, METH_NOARGS, "close()\n--\n\nLets next() return None once all are out."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("The completed futures of one pool that somebody watches.")},
    {Py_tp_methods, methods},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {"owngil._core.Completions", sizeof(CompletionsObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

PyObject* make_completions(const ModuleState& state, runtime::Supervisor& supervisor) {
  auto* self = PyObject_New(CompletionsObject, state.completions_type);
  if (self == nullptr) return nullptr;
  supervisor.retain();
  self->supervisor = &supervisor;
  return reinterpret_cast<PyObject*>(self);
}

bool add_completions_type(PyObject* module, ModuleState& state) {
  state.completions_type =
      reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return state.completions_type != nullptr;
}

}  // namespace owngil::binding

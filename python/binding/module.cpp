// SPDX-License-Identifier: BSD-3-Clause
// The module owngil._core: the runtime in the user's process, the worker in a worker.
//
// Threads: needs the GIL. Loads in any interpreter: no global holds a Python object.
// Not: an interface for users; owngil's Python modules are.
#include "python/binding/endings.hpp"
#include "python/binding/module_state.hpp"
#include "python/binding/options.hpp"
#include "python/binding/outcome.hpp"
#include "python/binding/output.hpp"
#include "python/binding/shared_data.hpp"
#include "workers/buffer_collector.hpp"
#include "workers/buffer_object.hpp"
#include "workers/process_methods.hpp"

#include <new>
#include <string>
#include <utility>

namespace owngil::binding {

using workers::Ref;

namespace {

ModuleState* state_of_module(PyObject* module) {
  return static_cast<ModuleState*>(PyModule_GetState(module));
}

// Called in the child of a fork() of the user's process. The child can make pools of its own.
PyObject* after_fork_in_child(PyObject* module, PyObject*) {
  ModuleState* state = state_of_module(module);
  ++state->generation;
  state->shared = nullptr;  // it is its parent's
  if (state->runtime != nullptr) {
    state->runtime->forked_child();
    state->runtime = nullptr;  // what its threads held cannot be freed
  }
  Py_RETURN_NONE;
}

PyObject* set_future_type(PyObject* module, PyObject* type) {
  ModuleState* state = state_of_module(module);
  if (!PyType_Check(type) ||
      !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(type), state->future_base_type)) {
    PyErr_SetString(PyExc_TypeError, "a subclass of FutureBase");
    return nullptr;
  }
  Py_XSETREF(state->future_type, reinterpret_cast<PyTypeObject*>(Py_NewRef(type)));
  Py_RETURN_NONE;
}

PyObject* guardian_pid(PyObject* module, PyObject*) {
  const ModuleState* state = state_of_module(module);
  return PyLong_FromLong(state->runtime != nullptr ? state->runtime->guardian_pid() : 0);
}

PyMethodDef methods[] = {
    {"after_fork_in_child", after_fork_in_child, METH_NOARGS, nullptr},
    {"set_future_type", set_future_type, METH_O, nullptr},
    {"guardian_pid", guardian_pid, METH_NOARGS, nullptr},
    {"copy_to_bytes", workers::copy_to_bytes, METH_O, nullptr},
    {"make_shared", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(make_shared)),
     METH_FASTCALL, nullptr},
    {"share_value", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(share_value)),
     METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

int execute(PyObject* module) {
  ModuleState* state = state_of_module(module);
  *state = ModuleState{};
  state->strings = new (std::nothrow) workers::ShortStrings;  // it can do without
  state->worker.buffer_type = workers::make_buffer_type(module);
  state->worker.collector_type = workers::make_collector_type(module);
  return state->worker.buffer_type != nullptr && state->worker.collector_type != nullptr &&
                 workers::add_process_methods(module) && add_output_methods(module) &&
                 PyModule_AddFunctions(module, ending_methods()) == 0 &&
                 add_future_type(module, *state) && add_completions_type(module, *state) &&
                 add_map_iterator_type(module, *state) && add_pool_type(module, *state) &&
                 add_options_type(module, *state) && add_shared_buffer_type(module, *state) &&
                 PyModule_AddStringConstant(module, "version", OWNGIL_VERSION) == 0
             ? 0
             : -1;
}

int traverse(PyObject* module, visitproc visit, void* arg) {
  const ModuleState* state = state_of_module(module);
  if (state == nullptr) return 0;
  Py_VISIT(state->worker.buffer_type);
  Py_VISIT(state->worker.collector_type);
  Py_VISIT(state->pool_type);
  Py_VISIT(state->future_base_type);
  Py_VISIT(state->map_iterator_type);
  Py_VISIT(state->completions_type);
  Py_VISIT(state->shared_buffer_type);
  Py_VISIT(state->future_type);
  Py_VISIT(state->pickle_loads);
  Py_VISIT(state->dump_arguments);
  Py_VISIT(state->show_output);
  return 0;
}

int clear(PyObject* module) {
  ModuleState* state = state_of_module(module);
  if (state == nullptr) return 0;
  Py_CLEAR(state->worker.buffer_type);
  Py_CLEAR(state->worker.collector_type);
  Py_CLEAR(state->pool_type);
  Py_CLEAR(state->future_base_type);
  Py_CLEAR(state->map_iterator_type);
  Py_CLEAR(state->completions_type);
  Py_CLEAR(state->shared_buffer_type);
  Py_CLEAR(state->future_type);
  Py_CLEAR(state->pickle_loads);
  Py_CLEAR(state->dump_arguments);
  Py_CLEAR(state->show_output);
  delete std::exchange(state->strings, nullptr);
  return 0;
}

void free_module(void* module) {
  // The runtime is left to the end of the process, of which the guardian takes notice: supervisors
  // that futures still hold refer to it.
  clear(static_cast<PyObject*>(module));
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(execute)},
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {0, nullptr},
};

}  // namespace

PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    "_core",
    "The C++ half of owngil.",
    sizeof(ModuleState),
    methods,
    slots,
    traverse,
    clear,
    free_module,
};

// A class that is garbage itself has lost its MRO before its instances go.
ModuleState* state_of_garbage(PyTypeObject* type) {
  for (; type != nullptr; type = type->tp_base) {
    if ((type->tp_flags & Py_TPFLAGS_HEAPTYPE) == 0) continue;
    PyObject* module = PyType_GetModule(type);
    if (module == nullptr) {
      PyErr_Clear();
    } else if (PyModule_GetDef(module) == &module_definition) {
      return state_of_module(module);
    }
  }
  return nullptr;
}

ModuleState* state_of(PyTypeObject* type) {
  if (type->tp_mro == nullptr) return state_of_garbage(type);
  PyObject* module = PyType_GetModuleByDef(type, &module_definition);
  return module != nullptr ? state_of_module(module) : nullptr;
}

PyObject* package_function(const char* module, const char* name) {
  const std::string full = std::string("owngil.") + module;
  const Ref imported = Ref::steal(PyImport_ImportModule(full.c_str()));
  return imported ? PyObject_GetAttrString(imported.get(), name) : nullptr;
}

bool raise_not_ours(const ModuleState* state) {
  if (state == nullptr) return false;
  PyErr_SetString(PyExc_RuntimeError,
                  "this pool belongs to the parent process: it is closed in a child of fork(). "
                  "Make a Pool of the child's own.");
  return false;
}

bool give_notes(const ModuleState& state) {
  if (state.runtime == nullptr || !state.runtime->has_notes()) return true;
  for (const std::string& note : state.runtime->take_notes()) {
    if (PyErr_WarnEx(PyExc_RuntimeWarning, note.c_str(), 2) < 0) return false;
  }
  return true;
}

PyObject* broken_exception(runtime::Supervisor& supervisor) {
  const Ref make = Ref::steal(package_function("_outcomes", "pool_broken"));
  if (!make) return nullptr;
  const auto& failure = supervisor.broken_failure();
  const Ref losses = Ref::steal(PyList_New(0));
  if (!losses) return nullptr;
  for (const runtime::Loss& loss : supervisor.broken_by()) {
    const Ref facts = facts_of(loss.failure);
    if (!facts) return nullptr;
    const Ref row = Ref::steal(Py_BuildValue(
        "(OOs)", facts.get(), loss.came_up ? Py_True : Py_False, loss.reason.c_str()));
    if (!row || PyList_Append(losses.get(), row.get()) < 0) return nullptr;
  }
  return PyObject_CallFunction(make.get(), "sy#O", supervisor.broken_reason().c_str(),
                               reinterpret_cast<const char*>(failure.data()),
                               static_cast<Py_ssize_t>(failure.size()), losses.get());
}

PyObject* raise_admission(runtime::Supervisor& supervisor, runtime::Admission admission,
                          std::size_t size) {
  switch (admission) {
    case runtime::Admission::closed:
      PyErr_SetString(PyExc_RuntimeError, "cannot schedule new futures after shutdown");
      break;
    case runtime::Admission::broken: {
      Ref exception = Ref::steal(broken_exception(supervisor));
      if (exception) PyErr_SetRaisedException(exception.release());
      break;
    }
    default:
      PyErr_Format(PyExc_MemoryError,
                   "owngil: no shared memory for the %zu bytes of a call's arguments", size);
  }
  return nullptr;
}

}  // namespace owngil::binding

PyMODINIT_FUNC PyInit__core() { return PyModuleDef_Init(&owngil::binding::module_definition); }

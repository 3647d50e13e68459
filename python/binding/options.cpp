// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/options.hpp"

#include "python/binding/pool.hpp"

#include <structmember.h>

#include <cstddef>

namespace owngil::binding {

namespace {

struct OptionsObject {
  PyObject_HEAD PyObject* pool;  // nullptr until _set
  PyObject* weakrefs;
  runtime::Policy policy;
};

OptionsObject* cast(PyObject* self) { return reinterpret_cast<OptionsObject*>(self); }

OptionsObject* usable(PyObject* object) {
  if (cast(object)->pool != nullptr) return cast(object);
  PyErr_SetString(PyExc_RuntimeError, "made by Pool.options() alone");
  return nullptr;
}

// _set(pool, *, timeout_ns, ...): times in nanoseconds, 0: none. Once.
PyObject* set(PyObject* object, PyObject* args, PyObject* kwargs) {
  const ModuleState* state = state_of(Py_TYPE(object));
  if (state == nullptr) return nullptr;
  static const char* names[] = {
      "pool",     "timeout_ns", "deadline_ns",     "backoff_ns",     "grace_ns", "retries",
      "retry_on", "retry_died", "retry_timed_out", "cancel_running", nullptr};
  PyObject* pool = nullptr;
  unsigned long long timeout_ns = 0;
  unsigned long long deadline_ns = 0;
  unsigned long long backoff_ns = 0;
  unsigned long long grace_ns = 0;
  unsigned int retries = 0;
  unsigned int retry_on = 0;
  int retry_died = 0;
  int retry_timed_out = 0;
  int cancel_running = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!$KKKKIIppp:_set", const_cast<char**>(names),
                                   state->pool_type, &pool, &timeout_ns, &deadline_ns, &backoff_ns,
                                   &grace_ns, &retries, &retry_on, &retry_died, &retry_timed_out,
                                   &cancel_running)) {
    return nullptr;
  }
  OptionsObject* self = cast(object);
  self->policy = {.timeout_ns = timeout_ns,
                  .deadline_ns = deadline_ns,
                  .backoff_ns = backoff_ns,
                  .grace_ns = grace_ns,
                  .retries = retries,
                  .retry_on = retry_on,
                  .retry_died = retry_died != 0,
                  .retry_timed_out = retry_timed_out != 0,
                  .cancel_running = cancel_running != 0};
  Py_XSETREF(self->pool, Py_NewRef(pool));
  Py_RETURN_NONE;
}

PyObject* submit(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const OptionsObject* self = usable(object);
  if (self == nullptr) return nullptr;
  return submit_call(self->pool, &self->policy, args, nargs, kwnames);
}

PyObject* map(PyObject* object, PyObject* args) {
  const OptionsObject* self = usable(object);
  return self == nullptr ? nullptr : map_calls(self->pool, &self->policy, args);
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(cast(object)->pool);
  return 0;
}

int clear(PyObject* object) {
  Py_CLEAR(cast(object)->pool);
  return 0;
}

void dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  if (cast(object)->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  clear(object);
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"submit", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(submit)),
     METH_FASTCALL | METH_KEYWORDS,
     "submit(fn, /, *args, **kwargs)\n--\n\nAs Pool.submit, on these terms."},
    {"_set", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(set)),
     METH_VARARGS | METH_KEYWORDS, nullptr},
    {"_map", map, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(OptionsObject, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("The C half of owngil.PoolOptions.")},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {"owngil._core.OptionsBase", sizeof(OptionsObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

bool add_options_type(PyObject* module, ModuleState&) {
  const workers::Ref type = workers::Ref::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return type && PyModule_AddObjectRef(module, "OptionsBase", type.get()) == 0;
}

}  // namespace owngil::binding

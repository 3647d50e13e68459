// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/future.hpp"

#include "python/binding/outcome.hpp"
#include "python/binding/output.hpp"
#include "python/binding/waiting.hpp"

#include <structmember.h>

#include <algorithm>
#include <cstddef>

namespace owngil::binding {

using runtime::Ending;
using workers::Ref;

namespace {

constexpr double kLongestGraceSeconds = 1e9;

// As concurrent.futures._base names them. `open` is decided by the task.
enum class Phase : unsigned char {
  open,
  pending,  // this and the next two: of a future without a task, as the standard's
  running,
  cancelled,
  cancelled_and_notified,
  finished,
};

struct FutureObject {
  PyObject_HEAD runtime::Supervisor* supervisor;  // nullptr: made by somebody else than a pool
  runtime::Task* task;                            // nullptr once decoded
  PyObject* dispatcher;
  PyObject* result;
  PyObject* exception;
  PyObject* condition;
  PyObject* waiters;
  PyObject* callbacks;
  std::uint32_t generation;  // see is_ours()
  Phase phase;
  bool watched;
};

FutureObject* cast(PyObject* self) { return reinterpret_cast<FutureObject*>(self); }

// From now on it refers to something that may refer back.
void track(FutureObject* self) {
  auto* object = reinterpret_cast<PyObject*>(self);
  if (PyObject_GC_IsTracked(object) == 0) PyObject_GC_Track(object);
}

// Whether the task is complete, as far as anybody has collected.
bool task_is_complete(const FutureObject* self) {
  return self->task == nullptr || self->task->is_complete();
}

Phase final_phase(const FutureObject* self) {
  return self->task != nullptr && self->task->ending == Ending::cancelled
             ? Phase::cancelled_and_notified
             : Phase::finished;
}

// F1: a watched future's phase is fixed by _settle alone.
void settle_unless_watched(FutureObject* self) {
  if (self->phase == Phase::open && !self->watched && task_is_complete(self)) {
    self->phase = final_phase(self);
  }
}

void drop_task(FutureObject* self) {
  if (self->task == nullptr) return;
  if (is_ours(state_of(Py_TYPE(self)), self->generation)) self->supervisor->forget(*self->task);
  self->task = nullptr;
}

// Requires: the task is complete, or there is none and the phase is finished.
void decode(FutureObject* self) {
  if (self->task == nullptr || self->result != nullptr || self->exception != nullptr) return;
  ModuleState* state = state_of(Py_TYPE(self));
  if (state == nullptr) return;
  if (self->task->ending == Ending::cancelled) return;
  Decoded decoded = decode_outcome(*state, *self->supervisor, *self->task);
  if (self->task == nullptr) return;  // user code, run by decoding, has asked, too
  self->result = decoded.value.release();
  self->exception = decoded.exception.release();
  if (self->phase == Phase::open && !self->watched) self->phase = Phase::finished;
  if (self->phase != Phase::open) drop_task(self);
  track(self);
}

// The base class's method, for a future without a task.
PyObject* standard(PyObject* self, const char* method, PyObject* argument) {
  const Ref module = Ref::steal(PyImport_ImportModule("concurrent.futures"));
  const Ref base = Ref::steal(module ? PyObject_GetAttrString(module.get(), "Future") : nullptr);
  if (!base) return nullptr;
  return argument != nullptr ? PyObject_CallMethod(base.get(), method, "OO", self, argument)
                             : PyObject_CallMethod(base.get(), method, "O", self);
}

bool is_detached(const FutureObject* self) {
  return self->supervisor == nullptr && self->phase != Phase::finished;
}

PyObject* raise_cancelled() {
  const Ref module = Ref::steal(PyImport_ImportModule("concurrent.futures"));
  const Ref type =
      Ref::steal(module ? PyObject_GetAttrString(module.get(), "CancelledError") : nullptr);
  if (type) PyErr_SetNone(type.get());
  return nullptr;
}

// Waits until the outcome is there. False: an exception is set.
bool wait_for_outcome(FutureObject* self, PyObject* timeout) {
  if (task_is_complete(self)) return true;
  ModuleState* state = state_of(Py_TYPE(self));
  if (!check_ours(state, self->generation)) return false;
  std::uint64_t deadline_ns = 0;
  if (!deadline_of(timeout, deadline_ns)) return false;
  switch (wait_for(*self->supervisor, *self->task, deadline_ns)) {
    case Waited::ready: return true;
    case Waited::timeout: PyErr_SetNone(PyExc_TimeoutError); return false;
    case Waited::error: return false;
  }
  return false;
}

// What the task printed comes before its outcome. False: an exception is set.
bool show_output(FutureObject* self) {
  if (self->task == nullptr) return true;
  ModuleState* state = state_of(Py_TYPE(self));
  if (!is_ours(state, self->generation)) return true;
  return show_output(*state, *self->task);
}

bool one_timeout(const char* name, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
                 PyObject*& timeout) {
  timeout = nullptr;
  const Py_ssize_t named = kwnames != nullptr ? PyTuple_GET_SIZE(kwnames) : 0;
  if (nargs + named > 1) {
    PyErr_Format(PyExc_TypeError, "%s() takes at most one argument: timeout", name);
    return false;
  }
  if (nargs + named == 0) return true;
  if (named == 1 &&
      PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "timeout") != 0) {
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R", name,
                 PyTuple_GET_ITEM(kwnames, 0));
    return false;
  }
  timeout = args[0];
  return true;
}

PyObject* result(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject* timeout = nullptr;
  if (!one_timeout("result", args, nargs, kwnames, timeout)) return nullptr;
  FutureObject* self = cast(object);
  if (is_detached(self)) return standard(object, "result", timeout);
  if (!wait_for_outcome(self, timeout) || !show_output(self)) return nullptr;
  settle_unless_watched(self);
  decode(self);
  if (self->result != nullptr) return Py_NewRef(self->result);
  if (self->exception == nullptr) return raise_cancelled();
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(self->exception)), self->exception);
  return nullptr;
}

PyObject* exception(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  PyObject* timeout = nullptr;
  if (!one_timeout("exception", args, nargs, kwnames, timeout)) return nullptr;
  FutureObject* self = cast(object);
  if (is_detached(self)) return standard(object, "exception", timeout);
  if (!wait_for_outcome(self, timeout) || !show_output(self)) return nullptr;
  settle_unless_watched(self);
  decode(self);
  if (self->exception != nullptr) return Py_NewRef(self->exception);
  if (self->result != nullptr) Py_RETURN_NONE;
  return raise_cancelled();
}

bool is_open(const FutureObject* self) {
  return self->phase == Phase::open && self->task != nullptr;
}

// Collects, unless this is a forked child, where nothing will ever come.
bool poll(FutureObject* self) {
  if (!is_open(self)) return true;
  if (self->task->is_complete()) return true;
  const ModuleState* state = state_of(Py_TYPE(self));
  if (!is_ours(state, self->generation)) return false;
  return self->supervisor->poll(*self->task);
}

PyObject* done(PyObject* object, PyObject*) {
  FutureObject* self = cast(object);
  if (is_detached(self)) return standard(object, "done", nullptr);
  const bool complete = poll(self);
  settle_unless_watched(self);
  return PyBool_FromLong(complete);
}

PyObject* cancelled(PyObject* object, PyObject*) {
  FutureObject* self = cast(object);
  if (is_detached(self)) return standard(object, "cancelled", nullptr);
  if (!poll(self)) Py_RETURN_FALSE;
  settle_unless_watched(self);
  if (self->phase == Phase::open) {
    return PyBool_FromLong(final_phase(self) == Phase::cancelled_and_notified);
  }
  return PyBool_FromLong(self->phase == Phase::cancelled_and_notified);
}

PyObject* running(PyObject* object, PyObject*) {
  FutureObject* self = cast(object);
  if (is_detached(self)) return standard(object, "running", nullptr);
  if (!is_open(self) || poll(self)) Py_RETURN_FALSE;
  return PyBool_FromLong(self->supervisor->is_running(*self->task));
}

// cancel(running=False, grace=None)
PyObject* cancel(PyObject* object, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"running", "grace", nullptr};
  int running = 0;
  PyObject* grace = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p$O:cancel", const_cast<char**>(names), &running,
                                   &grace)) {
    return nullptr;
  }
  std::optional<std::uint64_t> grace_ns;
  if (grace != Py_None) {
    const double seconds = PyFloat_AsDouble(grace);
    if (seconds == -1.0 && PyErr_Occurred()) return nullptr;
    if (!(seconds >= 0)) return PyErr_Format(PyExc_ValueError, "grace must be >= 0, not %R", grace);
    grace_ns = static_cast<std::uint64_t>(std::min(seconds, kLongestGraceSeconds) * 1e9);
  }
  return cancel_future(object, running != 0, grace_ns);
}

// _settle(): the task is complete; fixes the state of a watched future, once.
PyObject* settle(PyObject* object, PyObject*) {
  FutureObject* self = cast(object);
  if (self->phase != Phase::open || !task_is_complete(self)) Py_RETURN_FALSE;
  self->phase = final_phase(self);
  if (self->result != nullptr || self->exception != nullptr) drop_task(self);
  Py_RETURN_TRUE;
}

// --- what the standard library's helpers touch ---------------------------------------------

PyObject* make_condition() {
  const Ref threading = Ref::steal(PyImport_ImportModule("threading"));
  return threading ? PyObject_CallMethod(threading.get(), "Condition", nullptr) : nullptr;
}

PyObject* get_condition(PyObject* object, void*) {
  FutureObject* self = cast(object);
  if (self->condition != nullptr) return Py_NewRef(self->condition);
  Ref made = Ref::steal(make_condition());
  if (!made) return nullptr;
  // Making it may have run other threads.
  if (self->condition != nullptr) return Py_NewRef(self->condition);
  const ModuleState* state = state_of(Py_TYPE(self));
  if (state == nullptr) return nullptr;
  if (self->phase == Phase::open && self->supervisor != nullptr &&
      is_ours(state, self->generation)) {
    // The thread that will tell it must exist before there is anything to tell.
    const Ref started = Ref::steal(PyObject_CallMethod(self->dispatcher, "start", nullptr));
    if (!started) return nullptr;
    if (self->condition != nullptr) return Py_NewRef(self->condition);
    self->watched = true;
    Py_INCREF(self);  // F2
    if (!self->supervisor->watch(*self->task, self)) {
      self->watched = false;
      Py_DECREF(self);
      settle_unless_watched(self);
    }
  }
  self->condition = made.release();
  track(self);
  return Py_NewRef(self->condition);
}

const char* phase_name(FutureObject* self) {
  if (self->phase == Phase::open) {
    if (!poll(self)) {
      return self->supervisor->is_running(*self->task) ? "RUNNING" : "PENDING";
    }
    settle_unless_watched(self);
  }
  switch (self->phase) {
    case Phase::open:  // complete, but the dispatcher has not told it yet
    case Phase::running: return "RUNNING";
    case Phase::pending: return "PENDING";
    case Phase::cancelled: return "CANCELLED";
    case Phase::cancelled_and_notified: return "CANCELLED_AND_NOTIFIED";
    case Phase::finished: return "FINISHED";
  }
  return "";
}

PyObject* get_state(PyObject* object, void*) {
  return PyUnicode_InternFromString(phase_name(cast(object)));
}

// For futures without a task only: the standard's set_result and its like.
int set_state(PyObject* object, PyObject* value, void*) {
  FutureObject* self = cast(object);
  if (self->supervisor != nullptr || value == nullptr || !PyUnicode_Check(value)) {
    PyErr_SetString(PyExc_AttributeError, "the state of a pool's future is the pool's to set");
    return -1;
  }
  const struct {
    const char* name;
    Phase phase;
  } phases[] = {{"PENDING", Phase::pending},
                {"RUNNING", Phase::running},
                {"CANCELLED", Phase::cancelled},
                {"CANCELLED_AND_NOTIFIED", Phase::cancelled_and_notified},
                {"FINISHED", Phase::finished}};
  for (const auto& known : phases) {
    if (PyUnicode_CompareWithASCIIString(value, known.name) == 0) {
      self->phase = known.phase;
      return 0;
    }
  }
  PyErr_Format(PyExc_ValueError, "no state of a future: %R", value);
  return -1;
}

PyObject* get_outcome(FutureObject* self, PyObject* FutureObject::* member) {
  if (self->supervisor != nullptr && task_is_complete(self)) decode(self);
  PyObject* value = self->*member;
  return Py_NewRef(value != nullptr ? value : Py_None);
}

int set_outcome(FutureObject* self, PyObject* FutureObject::* member, PyObject* value) {
  if (self->supervisor != nullptr) {
    PyErr_SetString(PyExc_AttributeError, "the outcome of a pool's future is the pool's to set");
    return -1;
  }
  track(self);
  Py_XSETREF(self->*member, Py_XNewRef(value));
  return 0;
}

PyObject* get_result(PyObject* object, void*) {
  return get_outcome(cast(object), &FutureObject::result);
}
int set_result(PyObject* object, PyObject* value, void*) {
  return set_outcome(cast(object), &FutureObject::result, value);
}
PyObject* get_exception(PyObject* object, void*) {
  return get_outcome(cast(object), &FutureObject::exception);
}
int set_exception(PyObject* object, PyObject* value, void*) {
  return set_outcome(cast(object), &FutureObject::exception, value);
}

PyObject* lazy_list(FutureObject* self, PyObject* FutureObject::* member) {
  if (self->*member == nullptr) {
    self->*member = PyList_New(0);
    if (self->*member == nullptr) return nullptr;
    track(self);
  }
  return Py_NewRef(self->*member);
}

PyObject* get_waiters(PyObject* object, void*) {
  return lazy_list(cast(object), &FutureObject::waiters);
}
PyObject* get_callbacks(PyObject* object, void*) {
  return lazy_list(cast(object), &FutureObject::callbacks);
}

// --- the object -----------------------------------------------------------------------------

PyObject* construct(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self != nullptr) cast(self)->phase = Phase::pending;
  return self;
}

// concurrent.futures.Future.__init__ would make what is made when it is first needed.
int initialise(PyObject*, PyObject* args, PyObject* kwargs) {
  if (PyTuple_GET_SIZE(args) == 0 && (kwargs == nullptr || PyDict_GET_SIZE(kwargs) == 0)) return 0;
  PyErr_SetString(PyExc_TypeError, "Future() takes no arguments");
  return -1;
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  FutureObject* self = cast(object);
  Py_VISIT(self->dispatcher);
  Py_VISIT(self->result);
  Py_VISIT(self->exception);
  Py_VISIT(self->condition);
  Py_VISIT(self->waiters);
  Py_VISIT(self->callbacks);
  Py_VISIT(Py_TYPE(object));
  return 0;
}

int clear(PyObject* object) {
  FutureObject* self = cast(object);
  Py_CLEAR(self->dispatcher);
  Py_CLEAR(self->result);
  Py_CLEAR(self->exception);
  Py_CLEAR(self->condition);
  Py_CLEAR(self->waiters);
  Py_CLEAR(self->callbacks);
  return 0;
}

void dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  FutureObject* self = cast(object);
  clear(object);
  // In a forked child the supervisor's mutex may be held by a thread that is not there.
  const ModuleState* state = self->supervisor != nullptr ? state_of(type) : nullptr;
  if (is_ours(state, self->generation)) {
    drop_task(self);
    self->supervisor->release();
  }
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"result", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(result)),
     METH_FASTCALL | METH_KEYWORDS,
     "result(timeout=None)\n--\n\nReturn the result of the call that the future represents, or "
     "raise what it raised.\n\ntimeout: seconds to wait; None waits for ever.\nRaises "
     "TimeoutError, CancelledError, WorkerDied, RemoteError, or the call's exception."},
    {"exception", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(exception)),
     METH_FASTCALL | METH_KEYWORDS,
     "exception(timeout=None)\n--\n\nReturn the exception that the call raised, or None."},
    {"done", done, METH_NOARGS,
     "done()\n--\n\nWhether the call has ended or was cancelled. Collects what is ready."},
    {"running", running, METH_NOARGS, "running()\n--\n\nWhether a worker has taken up the call."},
    {"cancelled", cancelled, METH_NOARGS, "cancelled()\n--\n\nWhether the call was cancelled."},
    {"cancel", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(cancel)),
     METH_VARARGS | METH_KEYWORDS,
     "cancel(running=False, *, grace=None)\n--\n\nCancel the call if no worker has taken it up, "
     "also when it waits in a worker's ring; it will never run then.\n\nrunning: stop it also "
     "when it has begun. owngil.TaskCancelled is raised in the task, again and again if it is "
     "swallowed; after `grace` seconds (default: 1, or the pool's options) its worker is "
     "killed.\n\nReturns whether the future will end as cancelled. One that had begun does so "
     "once nothing of it runs any more."},
    {"_settle", settle, METH_NOARGS, "_settle()\n--\n\nFix the state; whether it was open."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef getset[] = {
    {"_condition", get_condition, nullptr, nullptr, nullptr},
    {"_state", get_state, set_state, nullptr, nullptr},
    {"_result", get_result, set_result, nullptr, nullptr},
    {"_exception", get_exception, set_exception, nullptr, nullptr},
    {"_waiters", get_waiters, nullptr, nullptr, nullptr},
    {"_done_callbacks", get_callbacks, nullptr, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("The C half of owngil.Future.")},
    {Py_tp_new, reinterpret_cast<void*>(construct)},
    {Py_tp_init, reinterpret_cast<void*>(initialise)},
    {Py_tp_methods, methods},
    {Py_tp_getset, getset},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {"owngil._core.FutureBase", sizeof(FutureObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

FutureObject* allocate(const ModuleState& state, PyObject* dispatcher) {
  PyObject* object = state.future_type->tp_alloc(state.future_type, 0);
  if (object == nullptr) return nullptr;
  // It refers to nothing that could refer back until it is watched or decoded.
  PyObject_GC_UnTrack(object);
  cast(object)->dispatcher = Py_NewRef(dispatcher);
  return cast(object);
}

}  // namespace

PyObject* cancel_future(PyObject* object, bool running, std::optional<std::uint64_t> grace_ns) {
  FutureObject* self = cast(object);
  if (is_detached(self)) return standard(object, "cancel", nullptr);
  if (self->phase == Phase::cancelled_and_notified) Py_RETURN_TRUE;
  if (!is_open(self)) Py_RETURN_FALSE;
  const ModuleState* state = state_of(Py_TYPE(self));
  if (!check_ours(state, self->generation)) return nullptr;
  const auto what = running ? runtime::Running::stop : runtime::Running::spare;
  if (!self->supervisor->cancel(*self->task, what, grace_ns)) Py_RETURN_FALSE;
  settle_unless_watched(self);
  if (self->watched && task_is_complete(self)) {
    // As the standard's cancel: callbacks have run when it returns.
    const Ref resolved = Ref::steal(PyObject_CallMethod(object, "_resolve", nullptr));
    if (!resolved) return nullptr;
  }
  Py_RETURN_TRUE;
}

PyObject* make_future(ModuleState& state, runtime::Supervisor& supervisor, PyObject* dispatcher,
                      runtime::Task& task) {
  FutureObject* self = allocate(state, dispatcher);
  if (self == nullptr) {
    supervisor.forget(task);
    return nullptr;
  }
  supervisor.retain();
  self->supervisor = &supervisor;
  self->task = &task;
  self->generation = state.generation;
  self->phase = Phase::open;
  return reinterpret_cast<PyObject*>(self);
}

PyObject* make_failed_future(ModuleState& state, PyObject* dispatcher, PyObject* exception) {
  FutureObject* self = allocate(state, dispatcher);
  if (self == nullptr) {
    Py_DECREF(exception);
    return nullptr;
  }
  self->exception = exception;
  self->phase = Phase::finished;
  track(self);
  return reinterpret_cast<PyObject*>(self);
}

bool add_future_type(PyObject* module, ModuleState& state) {
  PyObject* type = PyType_FromModuleAndSpec(module, &spec, nullptr);
  if (type == nullptr) return false;
  state.future_base_type = reinterpret_cast<PyTypeObject*>(type);
  return PyModule_AddObjectRef(module, "FutureBase", type) == 0;
}

}  // namespace owngil::binding

// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/pool.hpp"

#include "ipc/buffer_list.hpp"
#include "python/binding/completions.hpp"
#include "python/binding/endings.hpp"
#include "python/binding/future.hpp"
#include "python/binding/gil.hpp"
#include "python/binding/map_iterator.hpp"
#include "python/binding/room.hpp"
#include "workers/codec.hpp"

#include <boost/system/system_error.hpp>

#include <structmember.h>
#include <sys/resource.h>

#include <new>
#include <string>
#include <system_error>

namespace owngil::binding {

using workers::Ref;

namespace {

PoolObject* cast(PyObject* self) { return reinterpret_cast<PoolObject*>(self); }

// The pool, if it may be used here; nullptr: an exception is set.
PoolObject* usable(PyObject* self, ModuleState*& state) {
  state = state_of(Py_TYPE(self));
  if (state == nullptr) return nullptr;
  if (cast(self)->supervisor == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "Pool.__init__() was not called");
    return nullptr;
  }
  if (!check_ours(state, cast(self)->generation)) return nullptr;
  return cast(self);
}

// What the system refused, with the limit that the user can raise.
PyObject* raise_system_error(int code, const char* what) {
  if (code == ENOMEM) return PyErr_Format(PyExc_MemoryError, "owngil: %s", what);
  std::string text = what;
  if (code == EMFILE) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    text += " (RLIMIT_NOFILE is " + std::to_string(limit.rlim_cur) +
            "; a pool needs about 25 descriptors and 9 for each worker: raise it with ulimit -n)";
  }
  const Ref args = Ref::steal(Py_BuildValue("(is)", code, text.c_str()));
  if (args) PyErr_SetObject(PyExc_OSError, args.get());
  return nullptr;
}

// Calls; what C++ throws becomes a Python exception, and the result false.
template <class Call>
bool guarded(Call&& call) {
  try {
    call();
    return true;
  } catch (const std::system_error& error) {
    raise_system_error(error.code().value(), error.what());
  } catch (const boost::system::system_error& error) {
    raise_system_error(error.code().value(), error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return false;
}

bool strings_of(PyObject* sequence, std::vector<std::string>& out) {
  const Ref fast = Ref::steal(PySequence_Fast(sequence, "a sequence of bytes"));
  if (!fast) return false;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast.get()); ++i) {
    char* data = nullptr;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(PySequence_Fast_GET_ITEM(fast.get(), i), &data, &size) < 0) {
      return false;
    }
    out.emplace_back(data, static_cast<std::size_t>(size));
  }
  return true;
}

PyObject* open(PyObject* object, PyObject* args, PyObject* kwargs) {
  ModuleState* state = state_of(Py_TYPE(object));
  if (state == nullptr) return nullptr;
  static const char* names[] = {"workers",
                                "cpus",
                                "max_tasks_per_child",
                                "max_memory_per_child",
                                "idle_timeout_ns",
                                "max_restarts",
                                "restarts_for_each",
                                "restart_window_ns",
                                "arena_size",
                                "arena_limit",
                                "spin_ns",
                                "argv",
                                "env",
                                "guardian",
                                "config",
                                "fallback_argv",
                                "fallback_config",
                                "spawn",
                                "hosts",
                                "reuses_places",
                                "name",
                                "fds",
                                "number",
                                "number_lasts",
                                "context",
                                "forward_output",
                                "kill_orphans",
                                nullptr};
  unsigned int workers = 0;
  unsigned int cpus = 0;
  unsigned long long max_tasks = 0;
  unsigned long long max_memory = 0;
  unsigned long long idle_timeout_ns = 0;
  unsigned long long max_restarts = 0;
  unsigned long long restarts_for_each = 0;
  unsigned long long restart_window_ns = 0;
  unsigned long long arena_size = 0;
  unsigned long long arena_limit = 0;
  unsigned long long spin_ns = 0;
  PyObject* argv = nullptr;
  PyObject* env = nullptr;
  const char* guardian = nullptr;
  Py_ssize_t guardian_size = 0;
  const char* config = nullptr;
  Py_ssize_t config_size = 0;
  PyObject* fallback_argv = nullptr;
  const char* fallback_config = nullptr;
  Py_ssize_t fallback_config_size = 0;
  int spawn = 0;
  unsigned int hosts = 0;
  int reuses_places = 0;
  int kill_orphans = 1;
  const char* name = nullptr;
  PyObject* fds = nullptr;
  PyObject* number = nullptr;
  PyObject* number_lasts = nullptr;
  PyObject* context = nullptr;
  int forward_output = 0;
  if (!PyArg_ParseTupleAndKeywords(
          args, kwargs, "$IIKKKKKKKKKOOy#y#Oy#pIpsO!OOOpp:_open", const_cast<char**>(names),
          &workers, &cpus, &max_tasks, &max_memory, &idle_timeout_ns, &max_restarts,
          &restarts_for_each, &restart_window_ns, &arena_size, &arena_limit, &spin_ns, &argv, &env,
          &guardian, &guardian_size, &config, &config_size, &fallback_argv, &fallback_config,
          &fallback_config_size, &spawn, &hosts, &reuses_places, &name, &PyList_Type, &fds, &number,
          &number_lasts, &context, &forward_output, &kill_orphans)) {
    return nullptr;
  }
  PoolObject* self = cast(object);
  if (self->supervisor != nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "this pool is open already");
    return nullptr;
  }
  runtime::LaunchSpec spec;
  if (!strings_of(argv, spec.argv) || !strings_of(env, spec.env)) return nullptr;
  spec.guardian_path.assign(guardian, static_cast<std::size_t>(guardian_size));
  spec.config.assign(config, static_cast<std::size_t>(config_size));
  runtime::LaunchSpec fallback{{}, spec.env, spec.guardian_path, {}};
  if (!strings_of(fallback_argv, fallback.argv)) return nullptr;
  fallback.config.assign(fallback_config, static_cast<std::size_t>(fallback_config_size));
  runtime::Welcome welcome{name, {}, forward_output != 0, kill_orphans != 0};
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(fds); ++i) {
    welcome.fds.push_back(static_cast<int>(PyLong_AsLong(PyList_GET_ITEM(fds, i))));
  }
  if (PyErr_Occurred()) return nullptr;
  runtime::SupervisorOptions options;
  options.workers = workers;
  options.has_fallback = !fallback.argv.empty();
  options.cpus = cpus;
  options.max_tasks_per_worker = max_tasks;
  options.max_memory_per_worker = max_memory;
  options.idle_timeout_ns = idle_timeout_ns;
  options.restarts.losses = max_restarts;
  options.restarts.for_each_seat = restarts_for_each;
  options.restarts.window_ns = restart_window_ns;
  options.arena_size = arena_size;
  options.arena_limit = arena_limit;
  options.spin_ns = spin_ns;
  if (install_audit_hook() < 0) return nullptr;
  const bool opened = guarded([&] {
    if (state->runtime == nullptr) state->runtime = new runtime::Runtime;
    self->supervisor = &state->runtime->open_pool(
        options, std::move(spec), std::move(welcome),
        spawn != 0 ? runtime::StartMethod::spawn : runtime::StartMethod::fork_template,
        {.hosts = hosts, .reuses_places = reuses_places != 0}, std::move(fallback));
  });
  if (!opened) return nullptr;
  self->generation = state->generation;
  self->number = Py_NewRef(number);
  self->number_lasts = Py_NewRef(number_lasts);
  self->numbers = new NumberCache;
  self->context = Py_NewRef(context);
  self->watch = new ContextWatch;
  if (!self->watch->prepare()) return nullptr;
  return make_completions(*state, *self->supervisor);
}

PyObject* set_dispatcher(PyObject* object, PyObject* dispatcher) {
  Py_XSETREF(cast(object)->dispatcher, Py_NewRef(dispatcher));
  Py_RETURN_NONE;
}

// _start(initializer): starts the workers; each calls the function of that number (0: none) first.
PyObject* start(PyObject* object, PyObject* initializer) {
  ModuleState* state = nullptr;
  PoolObject* self = usable(object, state);
  if (self == nullptr) return nullptr;
  const auto number = static_cast<std::uint32_t>(PyLong_AsUnsignedLong(initializer));
  if (PyErr_Occurred() || !refresh_context(*state, *self)) return nullptr;
  workers::ByteBuffer no_arguments;
  if (workers::encode_call(nullptr, 0, nullptr, no_arguments) != workers::Encoded::ok) {
    return PyErr_NoMemory();
  }
  const runtime::Call call{number, self->context_number, ipc::Format::tagged, no_arguments.bytes()};
  if (!guarded([&] { self->supervisor->start(number != 0 ? &call : nullptr); })) return nullptr;
  Py_RETURN_NONE;
}

// _add_blob(bytes, name)
PyObject* add_blob(PyObject* object, PyObject* args) {
  ModuleState* state = nullptr;
  PoolObject* self = usable(object, state);
  const char* data = nullptr;
  Py_ssize_t size = 0;
  const char* name = nullptr;
  Py_ssize_t name_size = 0;
  if (self == nullptr ||
      !PyArg_ParseTuple(args, "y#y#:_add_blob", &data, &size, &name, &name_size)) {
    return nullptr;
  }
  const std::uint32_t number =
      self->supervisor->add_blob(std::as_bytes(std::span(data, static_cast<std::size_t>(size))),
                                 {name, static_cast<std::size_t>(name_size)});
  if (number == 0) {
    return PyErr_Format(PyExc_MemoryError, "owngil: no shared memory for a function of %zd bytes",
                        size);
  }
  return PyLong_FromUnsignedLong(number);
}

PyObject* drop_blob(PyObject* object, PyObject* number) {
  const unsigned long value = PyLong_AsUnsignedLong(number);
  if (value == static_cast<unsigned long>(-1) && PyErr_Occurred()) return nullptr;
  const ModuleState* state = state_of(Py_TYPE(object));
  PoolObject* self = cast(object);
  if (self->supervisor != nullptr && is_ours(state, self->generation)) {
    self->supervisor->drop_blob(static_cast<std::uint32_t>(value));
  }
  PyErr_Clear();
  Py_RETURN_NONE;
}

// _unfitness(number) -> None | (whether it was raised, what was refused or raised)
PyObject* unfitness(PyObject* object, PyObject* number) {
  ModuleState* state = nullptr;
  PoolObject* self = usable(object, state);
  const unsigned long value = PyLong_AsUnsignedLong(number);
  if (self == nullptr || PyErr_Occurred()) return nullptr;
  const auto found = self->supervisor->unfitness(static_cast<std::uint32_t>(value));
  if (!found) Py_RETURN_NONE;
  return Py_BuildValue("(Ny#)", PyBool_FromLong(found->format != ipc::Format::none),
                       reinterpret_cast<const char*>(found->bytes.data()),
                       static_cast<Py_ssize_t>(found->bytes.size()));
}

// _share_unfitness(number, other): the one is the other, in another state.
PyObject* share_unfitness(PyObject* object, PyObject* args) {
  ModuleState* state = nullptr;
  PoolObject* self = usable(object, state);
  unsigned int number = 0;
  unsigned int other = 0;
  if (self == nullptr || !PyArg_ParseTuple(args, "II:_share_unfitness", &number, &other)) {
    return nullptr;
  }
  self->supervisor->share_unfitness(number, other);
  Py_RETURN_NONE;
}

// The exception that is set, as a future that has failed with it.
PyObject* failed_future(ModuleState& state, const PoolObject& pool) {
  return make_failed_future(state, pool.dispatcher, PyErr_GetRaisedException());
}

PyObject* submit(PyObject* object, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return submit_call(object, nullptr, args, nargs, kwnames);
}

// _map(fn, iterables, timeout, chunksize, buffersize)
PyObject* map(PyObject* object, PyObject* args) { return map_calls(object, nullptr, args); }

PyObject* resize(PyObject* object, PyObject* workers) {
  ModuleState* state = nullptr;
  PoolObject* self = usable(object, state);
  if (self == nullptr) return nullptr;
  const unsigned long count = PyLong_AsUnsignedLong(workers);
  if (PyErr_Occurred()) return nullptr;
  runtime::Admission admission = runtime::Admission::admitted;
  const bool done = guarded([&] {
    const WithoutGil without_gil;
    admission = self->supervisor->resize(static_cast<std::uint32_t>(count));
  });
  if (!done) return nullptr;
  if (admission == runtime::Admission::closed) {
    PyErr_SetString(PyExc_RuntimeError, "cannot resize a pool after shutdown");
    return nullptr;
  }
  if (admission != runtime::Admission::admitted) {
    return raise_admission(*self->supervisor, admission, 0);
  }
  Py_RETURN_NONE;
}

// _kill(future): SIGKILL for its worker, at once; whether it will end as cancelled.
PyObject* kill(PyObject* object, PyObject* future) {
  const ModuleState* state = state_of(Py_TYPE(object));
  if (state == nullptr) return nullptr;
  if (!PyObject_TypeCheck(future, state->future_base_type)) {
    return PyErr_Format(PyExc_TypeError, "kill() takes a future of an owngil.Pool, not %R", future);
  }
  return cancel_future(future, true, 0);
}

PyObject* is_broken(PyObject* object, PyObject*) {
  const PoolObject* self = cast(object);
  return PyBool_FromLong(self->supervisor != nullptr && self->supervisor->is_broken());
}

// -> (pending, running, restarts, recycled, leaving,
//     [(rank, pid, state, outstanding, tasks done, busy ns, idle ns, of the fallback), ...])
PyObject* snapshot(PyObject* object, PyObject*) {
  ModuleState* state = nullptr;
  PoolObject* self = usable(object, state);
  if (self == nullptr) return nullptr;
  const runtime::Snapshot taken = self->supervisor->snapshot();
  const Ref workers = Ref::steal(PyList_New(0));
  if (!workers) return nullptr;
  for (const runtime::WorkerSnapshot& worker : taken.workers) {
    const Ref row =
        Ref::steal(Py_BuildValue("(IiIIKKKi)", worker.lane, static_cast<int>(worker.pid),
                                 static_cast<unsigned>(worker.state), worker.outstanding,
                                 static_cast<unsigned long long>(worker.tasks_done),
                                 static_cast<unsigned long long>(worker.busy_ns),
                                 static_cast<unsigned long long>(worker.idle_ns),
                                 worker.choice == runtime::Choice::fallback ? 1 : 0));
    if (!row || PyList_Append(workers.get(), row.get()) < 0) return nullptr;
  }
  return Py_BuildValue("(KKKKKO)", static_cast<unsigned long long>(taken.pending),
                       static_cast<unsigned long long>(taken.running),
                       static_cast<unsigned long long>(taken.restarts),
                       static_cast<unsigned long long>(taken.recycled),
                       static_cast<unsigned long long>(taken.leaving), workers.get());
}

// --- the object -----------------------------------------------------------------------------

int traverse(PyObject* object, visitproc visit, void* arg) {
  const PoolObject* self = cast(object);
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(self->number);
  Py_VISIT(self->number_lasts);
  Py_VISIT(self->context);
  Py_VISIT(self->dispatcher);
  if (self->numbers != nullptr) {
    for (const NumberCache::Entry& entry : self->numbers->entries) Py_VISIT(entry.function);
  }
  return self->watch != nullptr ? self->watch->traverse(visit, arg) : 0;
}

int clear(PyObject* object) {
  PoolObject* self = cast(object);
  Py_CLEAR(self->number);
  Py_CLEAR(self->number_lasts);
  if (self->numbers != nullptr) {
    for (NumberCache::Entry& entry : self->numbers->entries) Py_CLEAR(entry.function);
  }
  Py_CLEAR(self->context);
  Py_CLEAR(self->dispatcher);
  if (self->watch != nullptr) self->watch->clear();
  return 0;
}

void dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  PoolObject* self = cast(object);
  if (self->weakrefs != nullptr) PyObject_ClearWeakRefs(object);
  clear(object);
  delete self->watch;
  delete self->numbers;
  if (self->supervisor != nullptr) {
    const ModuleState* state = state_of(type);
    if (is_ours(state, self->generation)) {
      self->supervisor->shutdown(false);
      self->supervisor->release();
    }
  }
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"submit", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(submit)),
     METH_FASTCALL | METH_KEYWORDS,
     "submit(fn, /, *args, **kwargs)\n--\n\nSchedule fn(*args, **kwargs) in a worker and return "
     "its Future.\n\nWhat cannot be pickled fails the future, not the call.\nRaises TypeError if "
     "fn is not callable, RuntimeError after shutdown(), BrokenProcessPool if the pool is broken, "
     "MemoryError if the arguments find no shared memory."},
    {"_open", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(open)),
     METH_VARARGS | METH_KEYWORDS, nullptr},
    {"_set_dispatcher", set_dispatcher, METH_O, nullptr},
    {"_start", start, METH_O, nullptr},
    {"_add_blob", add_blob, METH_VARARGS, nullptr},
    {"_drop_blob", drop_blob, METH_O, nullptr},
    {"_unfitness", unfitness, METH_O, nullptr},
    {"_share_unfitness", share_unfitness, METH_VARARGS, nullptr},
    {"_map", map, METH_VARARGS, nullptr},
    {"_kill", kill, METH_O, nullptr},
    {"_resize", resize, METH_O, nullptr},
    {"_shutdown", shutdown_pool, METH_O, nullptr},
    {"_end_workers", end_workers, METH_O, nullptr},
    {"_wait_ended", wait_ended, METH_O, nullptr},
    {"__exit__", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(exit_pool)), METH_FASTCALL,
     nullptr},
    {"_is_broken", is_broken, METH_NOARGS, nullptr},
    {"_snapshot", snapshot, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PoolObject, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("The C half of owngil.Pool.")},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {"owngil._core.PoolBase", sizeof(PoolObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

PyObject* submit_call(PyObject* object, const runtime::Policy* policy, PyObject* const* args,
                      Py_ssize_t nargs, PyObject* kwnames) {
  ModuleState* state = nullptr;
  PoolObject* self = usable(object, state);
  if (self == nullptr) return nullptr;
  if (nargs < 1) {
    PyErr_SetString(PyExc_TypeError, "submit() missing 1 required positional argument: 'fn'");
    return nullptr;
  }
  PyObject* function = args[0];
  if (!PyCallable_Check(function)) {
    return PyErr_Format(PyExc_TypeError, "submit() takes a callable, not %R of type %.200s",
                        function, Py_TYPE(function)->tp_name);
  }
  workers::ByteBuffer payload;
  SentBuffers buffers(*self->supervisor);
  ipc::Format format = ipc::Format::none;
  if (!encode_arguments(*state, args + 1, static_cast<std::size_t>(nargs - 1), kwnames, buffers,
                        payload, format)) {
    return failed_future(*state, *self);
  }
  if (!refresh_context(*state, *self)) return nullptr;
  // Last of what runs Python: until a task is admitted that names the number, it may be dropped.
  const std::uint32_t number = function_number(*self, function);
  if (number == 0) return failed_future(*state, *self);
  runtime::Task* task = nullptr;
  const runtime::Call call{number, self->context_number, format, payload.bytes()};
  runtime::Admission admission = runtime::Admission::no_memory;
  while (true) {
    try {
      admission = self->supervisor->submit(call, task, policy);
    } catch (const std::bad_alloc&) {
      return PyErr_NoMemory();
    }
    if (admission != runtime::Admission::no_memory || payload.size() < ipc::kLeastBuffer) break;
    if (!wait_for_room(*self->supervisor, payload.size())) return nullptr;
  }
  if (admission != runtime::Admission::admitted) {
    return raise_admission(*self->supervisor, admission, payload.size());
  }
  buffers.handed_over();
  return make_future(*state, *self->supervisor, self->dispatcher, *task);
}

PyObject* map_calls(PyObject* object, const runtime::Policy* policy, PyObject* args) {
  ModuleState* state = nullptr;
  PoolObject* self = usable(object, state);
  if (self == nullptr) return nullptr;
  PyObject* function = nullptr;
  PyObject* iterables = nullptr;
  PyObject* timeout = nullptr;
  unsigned int chunksize = 0;
  unsigned long long buffersize = 0;
  if (!PyArg_ParseTuple(args, "OO!OIK:_map", &function, &PyTuple_Type, &iterables, &timeout,
                        &chunksize, &buffersize)) {
    return nullptr;
  }
  return make_map_iterator(*state, *self, policy, function, iterables, timeout, chunksize,
                           buffersize);
}

std::uint32_t function_number(PoolObject& pool, PyObject* function) {
  NumberCache::Entry& cached = pool.numbers->entry(function);
  if (cached.function == function) return cached.number;
  const Ref number = Ref::steal(PyObject_CallOneArg(pool.number, function));
  if (!number) return 0;
  const auto value = static_cast<std::uint32_t>(PyLong_AsUnsignedLong(number.get()));
  if (PyFunction_Check(function) || PyCFunction_CheckExact(function)) {
    const Ref lasts = Ref::steal(PyObject_CallOneArg(pool.number_lasts, function));
    if (!lasts) return 0;
    if (lasts.get() == Py_True) {
      cached.number = value;
      Py_XSETREF(cached.function, Py_NewRef(function));
    }
  }
  return value;
}

bool refresh_context(const ModuleState& state, PoolObject& pool) {
  if (!give_notes(state)) return false;
  if (!pool.watch->has_changed()) return true;
  const Ref number = Ref::steal(PyObject_CallNoArgs(pool.context));
  if (!number) return false;
  pool.context_number = static_cast<std::uint32_t>(PyLong_AsUnsignedLong(number.get()));
  return !PyErr_Occurred();
}

bool encode_arguments(ModuleState& state, PyObject* const* args, std::size_t positional,
                      PyObject* keyword_names, SentBuffers& buffers, workers::ByteBuffer& out,
                      ipc::Format& format) {
  workers::CollectedBuffers apart;
  const std::size_t start = out.size();
  format = ipc::Format::tagged;
  switch (workers::encode_call(args, positional, keyword_names, out, &apart)) {
    case workers::Encoded::ok:
      if (apart.views.empty()) return true;
      format = ipc::Format::buffers;
      return put_tagged(state, apart, buffers, out, start);
    case workers::Encoded::error: return false;
    case workers::Encoded::unsupported: break;
  }
  return pickle_arguments(state, args, positional, keyword_names, buffers, out, format);
}

bool put_tagged(const ModuleState& state, const workers::CollectedBuffers& apart,
                SentBuffers& buffers, workers::ByteBuffer& out, std::size_t start) {
  workers::ByteBuffer rest;
  if (!rest.append(out.data() + start, out.size() - start)) {
    PyErr_NoMemory();
    return false;
  }
  out.set_size(start);
  return buffers.put(state, apart, ipc::kTagged, rest.bytes(), out);
}

bool pickle_arguments(ModuleState& state, PyObject* const* args, std::size_t positional,
                      PyObject* keyword_names, SentBuffers& buffers, workers::ByteBuffer& out,
                      ipc::Format& format) {
  const Ref tuple = Ref::steal(PyTuple_New(static_cast<Py_ssize_t>(positional)));
  if (!tuple) return false;
  for (std::size_t i = 0; i < positional; ++i) {
    PyTuple_SET_ITEM(tuple.get(), static_cast<Py_ssize_t>(i), Py_NewRef(args[i]));
  }
  Ref named = Ref::borrow(Py_None);
  const Py_ssize_t names = keyword_names != nullptr ? PyTuple_GET_SIZE(keyword_names) : 0;
  if (names > 0) {
    named.reset(PyDict_New());
    if (!named) return false;
    for (Py_ssize_t i = 0; i < names; ++i) {
      if (PyDict_SetItem(named.get(), PyTuple_GET_ITEM(keyword_names, i),
                         args[positional + static_cast<std::size_t>(i)]) < 0) {
        return false;
      }
    }
  }
  if (state.dump_arguments == nullptr) {
    state.dump_arguments = package_function("_pickling", "dump_arguments");
    if (state.dump_arguments == nullptr) return false;
  }
  const Ref collector = workers::make_collector(state.worker.collector_type);
  if (!collector) return false;
  const Ref pickled = Ref::steal(PyObject_CallFunctionObjArgs(
      state.dump_arguments, tuple.get(), named.get(), collector.get(), nullptr));
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (!pickled || PyBytes_AsStringAndSize(pickled.get(), &data, &size) < 0) return false;
  const workers::CollectedBuffers& collected = workers::collected(collector.get());
  if (!collected.views.empty() || !collected.direct.empty()) {
    format = ipc::Format::buffers;
    return buffers.put(state, collected, collected.direct.empty() ? 0U : ipc::kDirect,
                       std::as_bytes(std::span(data, static_cast<std::size_t>(size))), out);
  }
  format = ipc::Format::pickle;
  if (!out.append(data, static_cast<std::size_t>(size))) {
    PyErr_NoMemory();
    return false;
  }
  return true;
}

bool add_pool_type(PyObject* module, ModuleState& state) {
  PyObject* type = PyType_FromModuleAndSpec(module, &spec, nullptr);
  if (type == nullptr) return false;
  state.pool_type = reinterpret_cast<PyTypeObject*>(type);
  return PyModule_AddObjectRef(module, "PoolBase", type) == 0;
}

}  // namespace owngil::binding

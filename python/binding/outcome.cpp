// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/outcome.hpp"

#include "workers/codec.hpp"

namespace owngil::binding {

using runtime::Ending;
using runtime::Task;
using workers::Ref;

namespace {

PyObject* bytes_object(std::span<const std::byte> bytes) {
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()),
                                   static_cast<Py_ssize_t>(bytes.size()));
}

// The exception that is set, taken; or, if that cannot be, at least one.
Ref taken_exception() {
  Ref raised = Ref::steal(PyErr_GetRaisedException());
  if (!raised) raised = Ref::steal(PyObject_CallNoArgs(PyExc_SystemError));
  return raised;
}

std::span<const std::byte> payload_of(const Task& task) {
  if (task.place == Task::Place::heap) return {task.heap.data, task.heap.size};
  return {task.bytes, task.size};
}

Ref died_exception(const runtime::Failure& failure) {
  const Ref make = Ref::steal(package_function("_outcomes", "worker_died"));
  if (!make) return taken_exception();
  Ref made = Ref::steal(PyObject_CallFunction(
      make.get(), "iIiOOKd", static_cast<int>(failure.pid), static_cast<unsigned>(failure.rank),
      failure.wait_status, failure.status_known ? Py_True : Py_False,
      failure.protocol ? Py_True : Py_False,
      static_cast<unsigned long long>(failure.peak_rss_bytes),
      static_cast<double>(failure.ran_ns) * 1e-9));
  return made ? std::move(made) : taken_exception();
}

Ref timed_out_exception(const runtime::Failure& failure) {
  const Ref make = Ref::steal(package_function("_outcomes", "task_timed_out"));
  if (!make) return taken_exception();
  Ref made = Ref::steal(PyObject_CallFunction(
      make.get(), "iIdOOd", static_cast<int>(failure.pid), static_cast<unsigned>(failure.rank),
      static_cast<double>(failure.limit_ns) * 1e-9, failure.of_deadline ? Py_True : Py_False,
      failure.begun ? Py_True : Py_False, static_cast<double>(failure.ran_ns) * 1e-9));
  return made ? std::move(made) : taken_exception();
}

// How a run ended that was not the last.
Ref attempt_exception(const runtime::Attempt& attempt) {
  switch (attempt.ending) {
    case Ending::raised: return decode_failure(attempt.format, attempt.payload);
    case Ending::timed_out: return timed_out_exception(*attempt.failure);
    default: return died_exception(*attempt.failure);
  }
}

Ref cancelled_exception() {
  const Ref module = Ref::steal(PyImport_ImportModule("concurrent.futures"));
  const Ref type =
      Ref::steal(module ? PyObject_GetAttrString(module.get(), "CancelledError") : nullptr);
  Ref made = Ref::steal(type ? PyObject_CallNoArgs(type.get()) : nullptr);
  return made ? std::move(made) : taken_exception();
}

}  // namespace

Ref decode_failure(ipc::Format format, std::span<const std::byte> bytes) {
  if (format == ipc::Format::none) {
    PyErr_SetString(PyExc_MemoryError, "owngil: the worker had no shared memory for its reply");
    return taken_exception();
  }
  const Ref data = Ref::steal(bytes_object(bytes));
  const Ref load = Ref::steal(data ? package_function("_pickling", "load_exception") : nullptr);
  Ref exception = Ref::steal(load ? PyObject_CallOneArg(load.get(), data.get()) : nullptr);
  return exception ? std::move(exception) : taken_exception();
}

Decoded decode_returned(ModuleState& state, ipc::Format format, std::span<const std::byte> bytes) {
  Decoded decoded;
  if (format == ipc::Format::tagged) {
    decoded.value = Ref::steal(workers::decode_value(bytes));
    if (!decoded.value) decoded.exception = taken_exception();
    return decoded;
  }
  if (state.pickle_loads == nullptr) {
    const Ref pickle = Ref::steal(PyImport_ImportModule("_pickle"));
    state.pickle_loads = pickle ? PyObject_GetAttrString(pickle.get(), "loads") : nullptr;
  }
  const Ref data = Ref::steal(state.pickle_loads != nullptr ? bytes_object(bytes) : nullptr);
  if (data) decoded.value = Ref::steal(PyObject_CallOneArg(state.pickle_loads, data.get()));
  if (decoded.value) return decoded;
  const Ref cause = taken_exception();
  const Ref explain = Ref::steal(package_function("_pickling", "undecodable"));
  if (explain && data) {
    decoded.exception =
        Ref::steal(PyObject_CallFunctionObjArgs(explain.get(), cause.get(), data.get(), nullptr));
  }
  if (!decoded.exception) decoded.exception = taken_exception();
  return decoded;
}

Ref with_attempts(Ref exception, const Task& task) {
  if (task.terms == nullptr || task.terms->attempts.empty()) return exception;
  const Ref attempts = Ref::steal(PyList_New(0));
  const Ref tell = Ref::steal(attempts ? package_function("_outcomes", "tell_attempts") : nullptr);
  if (!tell) return taken_exception();
  for (const runtime::Attempt& attempt : task.terms->attempts) {
    const Ref told = attempt_exception(attempt);
    if (PyList_Append(attempts.get(), told.get()) < 0) return taken_exception();
  }
  Ref made = Ref::steal(
      PyObject_CallFunctionObjArgs(tell.get(), exception.get(), attempts.get(), nullptr));
  return made ? std::move(made) : taken_exception();
}

Decoded decode_outcome(ModuleState& state, runtime::Supervisor& supervisor, const Task& task) {
  Decoded decoded;
  switch (task.ending) {
    case Ending::returned: return decode_returned(state, task.format, payload_of(task));
    case Ending::raised: decoded.exception = decode_failure(task.format, payload_of(task)); break;
    case Ending::died: decoded.exception = died_exception(*task.failure); break;
    case Ending::timed_out: decoded.exception = timed_out_exception(*task.failure); break;
    case Ending::cancelled: decoded.exception = cancelled_exception(); break;
    case Ending::broken:
      decoded.exception = Ref::steal(broken_exception(supervisor));
      if (!decoded.exception) decoded.exception = taken_exception();
      break;
    case Ending::no_memory:
    case Ending::none:
      PyErr_NoMemory();
      decoded.exception = taken_exception();
      break;
  }
  decoded.exception = with_attempts(std::move(decoded.exception), task);
  return decoded;
}

}  // namespace owngil::binding

// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/outcome.hpp"

#include "ipc/buffer_list.hpp"
#include "python/binding/gil.hpp"
#include "runtime/result_arena.hpp"
#include "workers/buffer_object.hpp"
#include "workers/codec.hpp"
#include "workers/numpy_api.hpp"

#include <cstring>
#include <optional>
#include <string>
#include <utility>

namespace owngil::binding {

using runtime::Ending;
using runtime::Task;
using workers::Ref;

namespace {

PyObject* bytes_object(std::span<const std::byte> bytes) {
  return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()),
                                   static_cast<Py_ssize_t>(bytes.size()));
}

PyObject* bytes_object(const std::string& text) {
  return bytes_object(std::as_bytes(std::span(text)));
}

PyObject* seconds(std::uint64_t ns) { return PyFloat_FromDouble(static_cast<double>(ns) * 1e-9); }

// True, False or None.
PyObject* verdict_of(const runtime::OomEvidence& oom) {
  using Verdict = runtime::OomEvidence::Verdict;
  if (oom.verdict == Verdict::unknown) return Py_NewRef(Py_None);
  return PyBool_FromLong(oom.verdict == Verdict::likely);
}

PyObject* verdict_of(runtime::Collateral collateral) {
  if (collateral == runtime::Collateral::unknown) return Py_NewRef(Py_None);
  return PyBool_FromLong(collateral == runtime::Collateral::yes);
}

class FactsBuilder {
 public:
  // Takes the reference; nullptr: an exception is set.
  void add(const char* name, PyObject* value) {
    const Ref owned = Ref::steal(value);
    if (dict_ && (!owned || PyDict_SetItemString(dict_.get(), name, owned.get()) < 0)) {
      dict_.reset();
    }
  }
  // None: an exception is set.
  Ref take() { return std::move(dict_); }

 private:
  Ref dict_ = Ref::steal(PyDict_New());
};

// The exception that is set, taken; or, if that cannot be, at least one.
Ref taken_exception() {
  Ref raised = Ref::steal(PyErr_GetRaisedException());
  if (!raised) raised = Ref::steal(PyObject_CallNoArgs(PyExc_SystemError));
  return raised;
}

// The buffers of a result whose rest is tagged. Its worker has written both, so that one may not
// fit the other.
class ResultBuffers final : public workers::BufferSource {
 public:
  ResultBuffers(ModuleState& state, const ipc::BufferList& list, std::span<const std::byte> bytes,
                runtime::ResultArena& arena)
      : state_(state), list_(list), bytes_(bytes), arena_(arena) {}

  [[nodiscard]] bool copy_next(void* to, std::size_t size) noexcept override {
    const std::optional<ipc::BlockRef> block = next(size);
    if (!block) return false;
    std::memcpy(to, arena_.at(*block), size);
    arena_.let_go(*block);
    return true;
  }
  [[nodiscard]] Ref take_next(std::size_t size) noexcept override {
    const std::optional<ipc::BlockRef> block = next(size);
    if (!block) return {};
    return workers::make_buffer(state_.worker.buffer_type, arena_, *block, arena_.at(*block),
                                runtime::ResultArena::stamp());
  }

 private:
  // Takes it out of the list.
  std::optional<ipc::BlockRef> next(std::size_t size) noexcept {
    if (next_ == list_.size() || list_[next_].size != size) {
      PyErr_SetString(PyExc_ValueError, "a result and its buffers do not fit");
      return std::nullopt;
    }
    const ipc::BlockRef block = list_[next_];
    ipc::take_out_buffer(const_cast<std::byte*>(bytes_.data()), next_++);
    return block;
  }

  ModuleState& state_;
  const ipc::BufferList& list_;
  const std::span<const std::byte> bytes_;
  runtime::ResultArena& arena_;
  std::uint32_t next_ = 0;
};

// None: an exception is set.
Ref load_tagged(ModuleState& state, std::span<const std::byte> bytes,
                workers::BufferSource* apart) {
  Ref value = Ref::steal(workers::decode_value(bytes, state.strings, apart));
  if (value || PyErr_Occurred()) return value;
  const Inside inside;
  if (!workers::load_numpy()) return {};
  return Ref::steal(workers::decode_value(bytes, state.strings, apart));
}

// The result's large buffers, now Python's. None: an exception is set.
Ref take_buffers(ModuleState& state, const ipc::BufferList& list, std::span<const std::byte> bytes,
                 runtime::ResultArena& arena) {
  Ref buffers = Ref::steal(PyList_New(list.size()));
  for (std::uint32_t i = 0; buffers && i != list.size(); ++i) {
    const ipc::BlockRef block = list[i];
    if (block.size == 0) {
      PyErr_SetString(PyExc_RuntimeError, "a result was decoded twice");
      return {};
    }
    Ref buffer = workers::make_buffer(state.worker.buffer_type, arena, block, arena.at(block),
                                      runtime::ResultArena::stamp());
    // The bytes are the task's, on the heap, and only who decodes them looks at them.
    ipc::take_out_buffer(const_cast<std::byte*>(bytes.data()), i);
    if (!buffer) return {};
    PyList_SET_ITEM(buffers.get(), i, buffer.release());
  }
  return buffers;
}

Ref load_with_buffers(ModuleState& state, PyObject* pickle, const ipc::BufferList& list,
                      std::span<const std::byte> bytes, runtime::ResultArena& arena) {
  const Ref buffers = take_buffers(state, list, bytes, arena);
  if (!buffers) return {};
  if (list.has_direct()) {
    const Ref load = Ref::steal(package_function("_direct", "loads"));
    return Ref::steal(
        load ? PyObject_CallFunctionObjArgs(load.get(), pickle, buffers.get(), nullptr) : nullptr);
  }
  const Ref names = Ref::steal(Py_BuildValue("(s)", "buffers"));
  PyObject* const arguments[] = {pickle, buffers.get()};
  return Ref::steal(names ? PyObject_Vectorcall(state.pickle_loads, arguments, 1, names.get())
                          : nullptr);
}

// What the exception that is set means for a result.
Ref undecodable(std::span<const std::byte> rest) {
  const Ref cause = taken_exception();
  const Ref data = Ref::steal(bytes_object(rest));
  const Ref explain = Ref::steal(data ? package_function("_pickling", "undecodable") : nullptr);
  Ref made = Ref::steal(
      explain ? PyObject_CallFunctionObjArgs(explain.get(), cause.get(), data.get(), nullptr)
              : nullptr);
  return made ? std::move(made) : taken_exception();
}

std::span<const std::byte> payload_of(const Task& task) {
  if (task.place == Task::Place::heap) return {task.heap.data, task.heap.size};
  return {task.bytes, task.size};
}

// What the function of owngil._outcomes makes of the failure.
Ref exception_of(const char* function, const runtime::Failure& failure,
                 std::optional<std::uint64_t> item) {
  const Ref make = Ref::steal(package_function("_outcomes", function));
  const Ref facts = make ? facts_of(failure, item) : Ref();
  Ref made = Ref::steal(facts ? PyObject_CallOneArg(make.get(), facts.get()) : nullptr);
  return made ? std::move(made) : taken_exception();
}

Ref died_exception(const runtime::Failure& failure, std::optional<std::uint64_t> item) {
  return exception_of("worker_died", failure, item);
}

Ref timed_out_exception(const runtime::Failure& failure, std::optional<std::uint64_t> item) {
  return exception_of("task_timed_out", failure, item);
}

// How a run ended that was not the last.
Ref attempt_exception(const runtime::Attempt& attempt, std::optional<std::uint64_t> item) {
  switch (attempt.ending) {
    case Ending::raised: return decode_failure(attempt.format, attempt.payload);
    case Ending::timed_out: return timed_out_exception(*attempt.failure, item);
    default: return died_exception(*attempt.failure, item);
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

Ref facts_of(const runtime::Failure& failure, std::optional<std::uint64_t> item) {
  FactsBuilder facts;
  facts.add("worker_key", PyLong_FromUnsignedLongLong(failure.worker_key));
  facts.add("pid", PyLong_FromLong(failure.pid));
  facts.add("rank", PyLong_FromUnsignedLong(failure.rank));
  facts.add("wait_status", PyLong_FromLong(failure.wait_status));
  facts.add("status_known", PyBool_FromLong(failure.status_known));
  facts.add("broke_protocol", PyBool_FromLong(failure.protocol));
  facts.add("peak_rss", PyLong_FromUnsignedLongLong(failure.peak_rss_bytes));
  facts.add("oom", verdict_of(failure.oom));
  facts.add("oom_of_system", PyBool_FromLong(failure.oom.of_system));
  facts.add("oom_kills_before", PyLong_FromUnsignedLongLong(failure.oom.kills_before));
  facts.add("oom_kills", PyLong_FromUnsignedLongLong(failure.oom.kills));
  facts.add("memory_limit", PyLong_FromUnsignedLongLong(failure.oom.limit_bytes));
  facts.add("collateral", verdict_of(failure.collateral));
  facts.add("cost_others", PyBool_FromLong(failure.cost_others));
  facts.add("stack", bytes_object(failure.stack));
  facts.add("task_id", PyLong_FromUnsignedLongLong(failure.task));
  facts.add("task_name", bytes_object(failure.task_name));
  facts.add("item", item ? PyLong_FromUnsignedLongLong(*item) : Py_NewRef(Py_None));
  facts.add("seconds", seconds(failure.ran_ns));
  facts.add("limit", seconds(failure.limit_ns));
  facts.add("of_deadline", PyBool_FromLong(failure.of_deadline));
  facts.add("begun", PyBool_FromLong(failure.begun));
  return facts.take();
}

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

Decoded decode_returned(ModuleState& state, ipc::Format format, std::span<const std::byte> bytes,
                        runtime::ResultArena* arena) {
  Decoded decoded;
  const std::optional<ipc::BufferList> list =
      format == ipc::Format::buffers ? ipc::BufferList::read(bytes) : std::nullopt;
  const std::span<const std::byte> rest = list ? list->rest() : bytes;
  if (format == ipc::Format::tagged) {
    decoded.value = load_tagged(state, rest, nullptr);
  } else if (list && list->is_tagged()) {
    ResultBuffers apart(state, *list, bytes, *arena);
    decoded.value = load_tagged(state, rest, &apart);
  }
  if (decoded.value) return decoded;
  const Inside inside;
  if (PyErr_Occurred()) {
    decoded.exception = undecodable(rest);
    return decoded;
  }
  if (state.pickle_loads == nullptr) {
    const Ref pickle = Ref::steal(PyImport_ImportModule("_pickle"));
    state.pickle_loads = pickle ? PyObject_GetAttrString(pickle.get(), "loads") : nullptr;
  }
  const Ref data = Ref::steal(state.pickle_loads != nullptr ? bytes_object(rest) : nullptr);
  if (data && list) {
    decoded.value = load_with_buffers(state, data.get(), *list, bytes, *arena);
  } else if (data) {
    decoded.value = Ref::steal(PyObject_CallOneArg(state.pickle_loads, data.get()));
  }
  if (!decoded.value) decoded.exception = undecodable(rest);
  return decoded;
}

Ref with_attempts(Ref exception, const Task& task, std::optional<std::uint64_t> item) {
  if (task.terms == nullptr || task.terms->attempts.empty()) return exception;
  const Ref attempts = Ref::steal(PyList_New(0));
  const Ref tell = Ref::steal(attempts ? package_function("_outcomes", "tell_attempts") : nullptr);
  if (!tell) return taken_exception();
  for (const runtime::Attempt& attempt : task.terms->attempts) {
    const Ref told = attempt_exception(attempt, item);
    if (PyList_Append(attempts.get(), told.get()) < 0) return taken_exception();
  }
  Ref made = Ref::steal(
      PyObject_CallFunctionObjArgs(tell.get(), exception.get(), attempts.get(), nullptr));
  return made ? std::move(made) : taken_exception();
}

Decoded decode_outcome(ModuleState& state, runtime::Supervisor& supervisor, const Task& task,
                       std::optional<std::uint64_t> item) {
  if (task.ending == Ending::returned) {
    return decode_returned(state, task.format, payload_of(task),
                           task.place == Task::Place::heap ? task.heap.arena : nullptr);
  }
  const Inside inside;
  Decoded decoded;
  switch (task.ending) {
    case Ending::returned: break;
    case Ending::raised: decoded.exception = decode_failure(task.format, payload_of(task)); break;
    case Ending::died: decoded.exception = died_exception(*task.failure, item); break;
    case Ending::timed_out: decoded.exception = timed_out_exception(*task.failure, item); break;
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
  decoded.exception = with_attempts(std::move(decoded.exception), task, item);
  return decoded;
}

}  // namespace owngil::binding

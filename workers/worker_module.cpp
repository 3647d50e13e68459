// SPDX-License-Identifier: BSD-3-Clause
#include "workers/worker_module.hpp"

#include <unistd.h>

#include <cstdlib>
#include <initializer_list>

namespace owngil::workers {
namespace {

// Below this a copy is cheaper than a view.
constexpr std::size_t kCopiedBytes = 1024;

Ref bytes_of(std::span<const std::byte> bytes) noexcept {
  return Ref::steal(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()),
                                              static_cast<Py_ssize_t>(bytes.size())));
}

// Requires: whoever gets it lets go of it before the bytes go.
Ref view_of(std::span<const std::byte> bytes) noexcept {
  auto* const data = const_cast<char*>(reinterpret_cast<const char*>(bytes.data()));
  return Ref::steal(
      PyMemoryView_FromMemory(data, static_cast<Py_ssize_t>(bytes.size()), PyBUF_READ));
}

Ref must_be_bytes(Ref object) noexcept {
  if (!object || PyBytes_Check(object.get())) return object;
  PyErr_SetString(PyExc_TypeError, "owngil._worker must return bytes");
  return {};
}

}  // namespace

std::optional<WorkerModule> WorkerModule::import(bool may_refuse) noexcept {
  const Ref module = Ref::steal(PyImport_ImportModule("owngil._worker"));
  const Ref refusals = Ref::steal(may_refuse ? PyImport_ImportModule("owngil._refusals") : nullptr);
  if (!module || (may_refuse && !refusals)) return std::nullopt;
  WorkerModule made;
  struct Name {
    Ref& into;
    const char* name;
  };
  const auto take = [](PyObject* from, std::initializer_list<Name> names) {
    for (const auto& [into, name] : names) {
      into.reset(PyObject_GetAttrString(from, name));
      if (!into) return false;
    }
    return true;
  };
  const bool has_all =
      take(module.get(), {
                             {made.load_function_, "load_function"},
                             {made.apply_context_, "apply_context"},
                             {made.undecodable_call_, "undecodable_call"},
                             {made.load_direct_, "load_direct"},
                             {made.dump_result_, "dump_result"},
                             {made.dump_exception_, "dump_exception"},
                             {made.log_initializer_failure_, "log_initializer_failure"},
                             {made.end_forked_child_, "end_forked_child"},
                         });
  const bool can_refuse =
      !refusals || take(refusals.get(), {
                                            {made.load_function_, "load_function"},
                                            {made.look_for_refusal_, "look_at"},
                                            {made.needs_process_, "needs_process"},
                                        });
  if (!has_all || !can_refuse) return std::nullopt;
  return made;
}

Ref WorkerModule::load_call(std::span<const std::byte> pickle) noexcept {
  if (!loads_ && !bring_in_pickle()) return {};
  const Ref data = pickle.size() <= kCopiedBytes ? bytes_of(pickle) : view_of(pickle);
  if (!data) return {};
  Ref call = Ref::steal(PyObject_CallOneArg(loads_.get(), data.get()));
  if (!call) make_raised_undecodable();
  return call;
}

Ref WorkerModule::load_call(std::span<const std::byte> pickle, PyObject* buffers,
                            bool direct) noexcept {
  if (!loads_ && !bring_in_pickle()) return {};
  const Ref data = bytes_of(pickle);
  if (!data) return {};
  Ref call;
  if (direct) {
    call =
        Ref::steal(PyObject_CallFunctionObjArgs(load_direct_.get(), data.get(), buffers, nullptr));
  } else {
    const Ref names = Ref::steal(Py_BuildValue("(s)", "buffers"));
    PyObject* const arguments[] = {data.get(), buffers};
    if (names) {
      call = Ref::steal(PyObject_Vectorcall(loads_.get(), arguments, 1, names.get()));
    }
  }
  if (!call) make_raised_undecodable();
  return call;
}

bool WorkerModule::bring_in_pickle() noexcept {
  const Ref module = Ref::steal(PyImport_ImportModule("_pickle"));
  if (module) loads_ = Ref::steal(PyObject_GetAttrString(module.get(), "loads"));
  return static_cast<bool>(loads_);
}

void WorkerModule::make_raised_undecodable() const noexcept {
  const Ref raised = Ref::steal(PyErr_GetRaisedException());
  PyObject* const said = PyObject_CallOneArg(undecodable_call_.get(), raised.get());
  if (said != nullptr) PyErr_SetRaisedException(said);
}

Ref WorkerModule::load_function(std::span<const std::byte> blob) const noexcept {
  const Ref data = bytes_of(blob);
  if (!data) return {};
  return Ref::steal(PyObject_CallOneArg(load_function_.get(), data.get()));
}

bool WorkerModule::apply_context(std::span<const std::byte> blob) const noexcept {
  const Ref data = bytes_of(blob);
  if (!data) return false;
  return static_cast<bool>(Ref::steal(PyObject_CallOneArg(apply_context_.get(), data.get())));
}

Ref WorkerModule::dump_result(PyObject* value, PyObject* collector) const noexcept {
  return must_be_bytes(
      Ref::steal(PyObject_CallFunctionObjArgs(dump_result_.get(), value, collector, nullptr)));
}

Ref WorkerModule::dump_exception(PyObject* exception) const noexcept {
  Ref told = must_be_bytes(Ref::steal(PyObject_CallOneArg(dump_exception_.get(), exception)));
  if (!told) PyErr_Clear();
  return told;
}

void WorkerModule::look_for_refusal(PyObject* exception) const noexcept {
  const Ref done = Ref::steal(PyObject_CallOneArg(look_for_refusal_.get(), exception));
  if (!done) PyErr_Clear();  // then it is the task's own failure
}

Ref WorkerModule::needs_process(std::string_view what, PyObject* raised) const noexcept {
  return Ref::steal(PyObject_CallFunction(needs_process_.get(), "s#O", what.data(),
                                          static_cast<Py_ssize_t>(what.size()), raised));
}

void WorkerModule::log_initializer_failure(PyObject* exception) const noexcept {
  const Ref done = Ref::steal(PyObject_CallOneArg(log_initializer_failure_.get(), exception));
  if (!done) PyErr_WriteUnraisable(log_initializer_failure_.get());
}

void WorkerModule::end_forked_child(bool failed) const noexcept {
  const Ref raised = Ref::steal(PyErr_GetRaisedException());
  PyObject* const error = raised ? raised.get() : Py_None;
  static_cast<void>(Ref::steal(PyObject_CallOneArg(end_forked_child_.get(), error)));
  ::_exit(failed ? EXIT_FAILURE : EXIT_SUCCESS);
}

}  // namespace owngil::workers

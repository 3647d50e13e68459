// SPDX-License-Identifier: BSD-3-Clause
#include "workers/loaded_functions.hpp"

#include <utility>

namespace owngil::workers {
namespace {

PyObject* never_sent(const char* what, std::uint32_t number) {
  return PyErr_Format(PyExc_SystemError, "%s number %lu was never sent to this worker", what,
                      static_cast<unsigned long>(number));
}

}  // namespace

PyObject* LoadedFunctions::switch_to(const Task& task, const ReceivedBlobs& blobs) {
  current_ = nullptr;
  if (task.context != 0 && task.context != context_ && !switch_context(task.context, blobs)) {
    return nullptr;
  }
  const std::uint32_t before = std::exchange(function_, 0);
  Function* const function = find_or_load(task.function, blobs);
  if (function == nullptr) return nullptr;
  if (function->prepare && (before != task.function || function->reload)) {
    const Ref done = Ref::steal(PyObject_CallNoArgs(function->prepare.get()));
    if (!done) return nullptr;
  }
  function_ = task.function;
  if (!function->reload) current_ = function->callable.get();
  return function->callable.get();
}

bool LoadedFunctions::switch_context(std::uint32_t number, const ReceivedBlobs& blobs) {
  context_ = 0;
  const auto blob = blobs.find(number);
  if (!blob) return never_sent("context", number) != nullptr;
  if (!module_.apply_context(*blob)) return false;
  context_ = number;
  return true;
}

LoadedFunctions::Function* LoadedFunctions::find_or_load(std::uint32_t number,
                                                         const ReceivedBlobs& blobs) {
  const auto found = functions_.find(number);
  if (found != functions_.end() && !found->second.reload) return &found->second;

  const auto blob = blobs.find(number);
  if (!blob) {
    never_sent("function", number);
    return nullptr;
  }
  const Ref loaded = module_.load_function(*blob);
  if (!loaded) return nullptr;
  PyObject* callable = nullptr;
  PyObject* prepare = nullptr;
  int reload = 0;
  if (!PyArg_ParseTuple(loaded.get(), "OOp", &callable, &prepare, &reload)) return nullptr;
  Function& function = functions_[number];
  function.callable.reset(Py_NewRef(callable));
  function.prepare.reset(prepare == Py_None ? nullptr : Py_NewRef(prepare));
  function.reload = reload != 0;
  return &function;
}

PyObject* LoadedFunctions::load(std::uint32_t number, const ReceivedBlobs& blobs) {
  const Function* const function = find_or_load(number, blobs);
  return function != nullptr ? function->callable.get() : nullptr;
}

void LoadedFunctions::forget(std::uint32_t number) {
  if (function_ == number) {
    function_ = 0;
    current_ = nullptr;
  }
  const auto node = functions_.extract(number);  // its destructors run once it is out
}

}  // namespace owngil::workers

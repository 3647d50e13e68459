// SPDX-License-Identifier: BSD-3-Clause
#include "workers/own_gil_interpreter.hpp"

#include <cstdlib>
#include <mutex>
#include <stdexcept>

namespace owngil::workers {
namespace {

std::mutex one_at_a_time;

std::unique_lock<std::mutex> turn(bool alone) {
  return alone ? std::unique_lock(one_at_a_time) : std::unique_lock(one_at_a_time, std::defer_lock);
}

// What CPython calls isolated. Anything else is refused by it with a GIL of its own, or unsafe.
constexpr PyInterpreterConfig kIsolated{
    .use_main_obmalloc = 0,
    .allow_fork = 0,
    .allow_exec = 0,
    .allow_threads = 1,
    .allow_daemon_threads = 0,
    .check_multi_interp_extensions = 1,
    .gil = PyInterpreterConfig_OWN_GIL,
};

void join_threads() noexcept {
  const Ref name = Ref::steal(PyUnicode_FromString("threading"));
  const Ref threading = Ref::steal(name ? PyImport_GetModule(name.get()) : nullptr);
  if (threading) {
    const Ref joined = Ref::steal(PyObject_CallMethod(threading.get(), "_shutdown", nullptr));
    if (!joined) PyErr_WriteUnraisable(threading.get());
  }
  PyErr_Clear();
}

int number_in(PyObject* names, const char* name) noexcept {
  PyObject* const number = PyDict_GetItemString(names, name);
  const long value = number != nullptr ? PyLong_AsLong(number) : EXIT_FAILURE;
  PyErr_Clear();
  return static_cast<int>(value);
}

}  // namespace

OwnGilInterpreter::OwnGilInterpreter(PyInterpreterState* main, bool alone) : alone_(alone) {
  const auto lock = turn(alone_);
  PyThreadState* const in_main = PyThreadState_New(main);
  if (in_main == nullptr) throw std::runtime_error("no memory for a thread of an interpreter");
  PyEval_AcquireThread(in_main);
  const PyStatus status = Py_NewInterpreterFromConfig(&thread_, &kIsolated);
  const bool failed = PyStatus_Exception(status) != 0;
  if (!failed) PyThreadState_Swap(in_main);
  PyThreadState_Clear(in_main);
  PyThreadState_DeleteCurrent();
  if (failed) {
    const char* const why = status.err_msg != nullptr ? status.err_msg : "unknown";
    throw std::runtime_error(std::string("Python could not make an interpreter: ") + why);
  }
  PyEval_AcquireThread(thread_);
}

// Its threads are joined, which may take long, before others have to wait for it.
OwnGilInterpreter::~OwnGilInterpreter() {
  join_threads();
  PyThreadState* const outside = PyEval_SaveThread();
  const auto lock = turn(alone_);
  PyEval_RestoreThread(outside);
  Py_EndInterpreter(thread_);
}

int OwnGilInterpreter::run(const std::string& source) noexcept {
  PyObject* const module = PyImport_AddModule("__main__");
  PyObject* const names = module != nullptr ? PyModule_GetDict(module) : nullptr;
  const Ref done = Ref::steal(
      names != nullptr ? PyRun_String(source.c_str(), Py_file_input, names, names) : nullptr);
  if (done) return number_in(names, "code");
  const Ref raised = Ref::steal(PyErr_GetRaisedException());
  if (raised) PyErr_DisplayException(raised.get());
  return EXIT_FAILURE;
}

}  // namespace owngil::workers

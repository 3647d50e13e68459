// SPDX-License-Identifier: BSD-3-Clause
#include "workers/process_methods.hpp"

#include "ipc/control_protocol.hpp"
#include "ipc/interrupt_signal.hpp"
#include "workers/forwarded_output.hpp"
#include "workers/interpreter_host.hpp"
#include "workers/interpreter_state.hpp"
#include "workers/interruption.hpp"
#include "workers/page_sharing.hpp"
#include "workers/process_worker.hpp"
#include "workers/run_worker.hpp"
#include "workers/stack_dump.hpp"
#include "workers/template.hpp"
#include "workers/worker_note.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace owngil::workers {
namespace {

PyObject* set_os_error(const std::system_error& error) {
  const Ref arguments = Ref::steal(Py_BuildValue("(is)", error.code().value(), error.what()));
  if (arguments) PyErr_SetObject(PyExc_OSError, arguments.get());
  return nullptr;
}

// Calls what may throw, and turns what it throws into Python's.
template <class Body>
PyObject* guarded(Body body) noexcept {
  try {
    return body();
  } catch (const std::system_error& error) {
    return set_os_error(error);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return nullptr;
  }
}

void close_on_exec(int fd) {
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    throw std::system_error(errno, std::system_category(), "fcntl of an inherited descriptor");
  }
}

// (memory, rank, pool's name, pool's descriptors, where records of `logging` go, where stdout and
// stderr go)
PyObject* as_tuple(const Enlisted& worker) {
  const Ref fds = Ref::steal(PyList_New(0));
  if (!fds) return nullptr;
  for (const int fd : worker.pool_fds) {
    const Ref number = Ref::steal(PyLong_FromLong(fd));
    if (!number || PyList_Append(fds.get(), number.get()) != 0) return nullptr;
  }
  const WorkerMemory& memory = worker.memory;
  return Py_BuildValue("((iiiiii)Is#Oiii)", memory.channel, memory.results, memory.arguments,
                       memory.board, memory.caller_bell, memory.control_bell, worker.rank,
                       worker.pool_name.data(), static_cast<Py_ssize_t>(worker.pool_name.size()),
                       fds.get(), worker.log, worker.out, worker.err);
}

PyObject* read_config(PyObject*, PyObject*) noexcept {
  struct stat info{};
  if (::fstat(ipc::kStartConfig, &info) != 0) return PyErr_SetFromErrno(PyExc_OSError);
  Ref config = Ref::steal(PyBytes_FromStringAndSize(nullptr, info.st_size));
  if (!config) return nullptr;
  char* const bytes = PyBytes_AS_STRING(config.get());
  for (off_t done = 0; done < info.st_size;) {
    const ssize_t got = ::pread(ipc::kStartConfig, bytes + done,
                                static_cast<std::size_t>(info.st_size - done), done);
    if (got <= 0) return PyErr_SetFromErrno(PyExc_OSError);
    done += got;
  }
  return config.release();
}

PyObject* begin_template(PyObject*, PyObject*) noexcept {
  return guarded([] {
    for (const int fd : {ipc::kStartSocket, ipc::kStartConfig, ipc::kStartLifeline}) {
      close_on_exec(fd);
    }
    ::prctl(PR_SET_NAME, "owngil-template");
    prepare_stack_dumps();
    return PyLong_FromLong(arm_lifeline(ipc::kStartLifeline, LifelineOf::group).release());
  });
}

PyObject* begin_worker(PyObject*, PyObject*) noexcept {
  return guarded([]() -> PyObject* {
    const ipc::UniqueFd socket(ipc::kStartSocket);
    const ipc::UniqueFd config(ipc::kStartConfig);
    const ipc::UniqueFd lifeline(ipc::kStartLifeline);
    close_on_exec(ipc::kStartSocket);
    prepare_stack_dumps();
    try {
      arm_lifelines(ipc::kStartLifeline);
      return as_tuple(enlist(ipc::kStartSocket));
    } catch (const std::exception& error) {
      report_failure(ipc::kStartSocket, error.what());
      throw;
    }
  });
}

// What a program that was started to be a host begins with; returns where it is asked for workers.
PyObject* begin_host(PyObject*, PyObject*) noexcept {
  return guarded([] {
    const ipc::UniqueFd config(ipc::kStartConfig);
    const ipc::UniqueFd lifeline(ipc::kStartLifeline);
    close_on_exec(ipc::kStartSocket);
    ::prctl(PR_SET_NAME, "owngil-host");
    prepare_stack_dumps();
    arm_lifelines(ipc::kStartLifeline);
    return PyLong_FromLong(ipc::kStartSocket);
  });
}

// serve_interpreters(socket, entry, alone, wakes) -> exit code
PyObject* serve_interpreters_method(PyObject*, PyObject* arguments) noexcept {
  int socket = -1;
  const char* entry = nullptr;
  int alone = 1;
  int wakes = 0;
  if (!PyArg_ParseTuple(arguments, "ispp", &socket, &entry, &alone, &wakes)) return nullptr;
  return guarded([&]() -> PyObject* {
    const int code = serve_interpreters(socket, entry, alone != 0, wakes != 0);
    return code < 0 ? nullptr : PyLong_FromLong(code);
  });
}

// begin_interpreter(socket) -> worker: in the new interpreter
PyObject* begin_interpreter(PyObject* module, PyObject* number) noexcept {
  const int socket = static_cast<int>(PyLong_AsLong(number));
  if (PyErr_Occurred() != nullptr) return nullptr;
  return guarded([&]() -> PyObject* {
    try {
      const Enlisted worker = enlist(socket, OutputOf::worker);
      interpreter_state(module).notes = note_socket(socket);
      return as_tuple(worker);
    } catch (const std::exception& error) {
      report_failure(socket, error.what());
      throw;
    }
  });
}

// exit_process(status): os._exit, for interpreters that share their process: says whose task it is.
PyObject* exit_process(PyObject*, PyObject* status) noexcept {
  const long code = PyLong_AsLong(status);
  if (PyErr_Occurred() != nullptr) return nullptr;
  take_blame();
  ::_exit(static_cast<int>(code));
}

// await_fork(lifeline, timeout_ms, spawn_argv, hosts)
//   -> worker | socket of a host | False (timeout) | None (closed)
PyObject* await_fork_method(PyObject*, PyObject* arguments) noexcept {
  int lifeline = -1;
  int timeout_ms = -1;
  PyObject* argv = nullptr;
  int hosts = 0;
  if (!PyArg_ParseTuple(arguments, "iiO!p", &lifeline, &timeout_ms, &PyList_Type, &argv, &hosts)) {
    return nullptr;
  }
  return guarded([&]() -> PyObject* {
    std::vector<std::string> spawn_argv;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(argv); ++i) {
      const char* const one = PyBytes_AsString(PyList_GET_ITEM(argv, i));
      if (one == nullptr) return nullptr;
      spawn_argv.emplace_back(one);
    }
    const Offspring offspring = hosts != 0 ? Offspring::host : Offspring::worker;
    Forked forked;
    switch (await_fork(lifeline, offspring, spawn_argv, timeout_ms, forked)) {
      case Awaited::fork:
        return forked.worker ? as_tuple(*forked.worker) : PyLong_FromLong(forked.host_socket);
      case Awaited::timeout: Py_RETURN_FALSE;
      case Awaited::closed: Py_RETURN_NONE;
      case Awaited::exception: break;
    }
    return nullptr;
  });
}

PyObject* send_note_method(PyObject*, PyObject* text) noexcept {
  Py_ssize_t size = 0;
  const char* const bytes = PyUnicode_AsUTF8AndSize(text, &size);
  if (bytes == nullptr) return nullptr;
  send_note({bytes, static_cast<std::size_t>(size)});
  Py_RETURN_NONE;
}

// note_once(text): of a worker that has a host.
PyObject* note_once_method(PyObject* module, PyObject* text) noexcept {
  Py_ssize_t size = 0;
  const char* const bytes = PyUnicode_AsUTF8AndSize(text, &size);
  if (bytes == nullptr) return nullptr;
  return guarded([&]() -> PyObject* {
    note_once(interpreter_state(module).notes, {bytes, static_cast<std::size_t>(size)});
    Py_RETURN_NONE;
  });
}

// The template keeps nobody's pipe open; its workers get outputs of their own.
PyObject* let_go_of_output(PyObject*, PyObject*) noexcept {
  if (::dup2(STDIN_FILENO, STDOUT_FILENO) < 0 || ::dup2(STDIN_FILENO, STDERR_FILENO) < 0) {
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  Py_RETURN_NONE;
}

PyObject* fork_for_nothing_method(PyObject*, PyObject*) noexcept {
  fork_for_nothing();
  Py_RETURN_NONE;
}

// share_pages(everything): before a fork; see page_sharing.hpp
PyObject* share_pages(PyObject*, PyObject* everything) noexcept {
  make_last(everything == Py_True ? Lasting::everything : Lasting::program);
  close_gaps();
  Py_RETURN_NONE;
}

PyObject* run_worker_method(PyObject* module, PyObject* arguments) noexcept {
  WorkerMemory memory{};
  if (!PyArg_ParseTuple(arguments, "iiiiii", &memory.channel, &memory.results, &memory.arguments,
                        &memory.board, &memory.caller_bell, &memory.control_bell)) {
    return nullptr;
  }
  const int code = run_worker(interpreter_state(module), memory);
  return code < 0 ? nullptr : PyLong_FromLong(code);
}

// interrupt_task(signal, frame): the handler of INTERRUPT_SIGNAL.
PyObject* interrupt_task(PyObject* module, PyObject* const* arguments, Py_ssize_t count) noexcept {
  Interruption* const interruption = interpreter_state(module).interruption;
  PyObject* const frame = count > 1 ? arguments[1] : Py_None;
  if (interruption != nullptr && !interruption->on_signal(frame)) return nullptr;
  Py_RETURN_NONE;
}

PyObject* task_is_cancelled(PyObject* module, PyObject*) noexcept {
  const Interruption* const interruption = interpreter_state(module).interruption;
  return PyBool_FromLong(interruption != nullptr && interruption->is_cancelled());
}

// make_output_streams(encoding, errors of stdout, of stderr, descriptor of stdout, of stderr)
//   -> (stdout, stderr)
PyObject* make_output_streams_method(PyObject* module, PyObject* arguments) noexcept {
  const char* encoding = nullptr;
  const char* errors[2] = {};
  int fds[2] = {};
  if (!PyArg_ParseTuple(arguments, "sssii", &encoding, &errors[0], &errors[1], &fds[0], &fds[1])) {
    return nullptr;
  }
  return make_output_streams(module, encoding, errors, fds);
}

// From now on replies tell what was printed.
PyObject* forward_output(PyObject* module, PyObject*) noexcept {
  interpreter_state(module).output.is_on = true;
  Py_RETURN_NONE;
}

// The task that runs has printed something, in a way of its own.
PyObject* has_printed(PyObject* module, PyObject*) noexcept {
  interpreter_state(module).output.written = true;
  Py_RETURN_NONE;
}

// -> (id, function) of the task that runs, or None
PyObject* running_task(PyObject* module, PyObject*) noexcept {
  const RunningTask& task = interpreter_state(module).running;
  if (task.function == nullptr) Py_RETURN_NONE;
  return Py_BuildValue("(KO)", static_cast<unsigned long long>(task.id), task.function);
}

// note_refusal(what): this interpreter was refused something because it is none of its own process.
PyObject* note_refusal(PyObject* module, PyObject* what) noexcept {
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(what, &size);
  if (text == nullptr) return nullptr;
  interpreter_state(module).refusal.note({text, static_cast<std::size_t>(size)});
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"read_config", read_config, METH_NOARGS, nullptr},
    {"begin_template", begin_template, METH_NOARGS, nullptr},
    {"begin_worker", begin_worker, METH_NOARGS, nullptr},
    {"begin_host", begin_host, METH_NOARGS, nullptr},
    {"serve_interpreters", serve_interpreters_method, METH_VARARGS, nullptr},
    {"begin_interpreter", begin_interpreter, METH_O, nullptr},
    {"exit_process", exit_process, METH_O, nullptr},
    {"await_fork", await_fork_method, METH_VARARGS, nullptr},
    {"send_note", send_note_method, METH_O, nullptr},
    {"note_once", note_once_method, METH_O, nullptr},
    {"let_go_of_output", let_go_of_output, METH_NOARGS, nullptr},
    {"fork_for_nothing", fork_for_nothing_method, METH_NOARGS, nullptr},
    {"share_pages", share_pages, METH_O, nullptr},
    {"run_worker", run_worker_method, METH_VARARGS, nullptr},
    {"interrupt_task", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(interrupt_task)),
     METH_FASTCALL, nullptr},
    {"task_is_cancelled", task_is_cancelled, METH_NOARGS, nullptr},
    {"make_output_streams", make_output_streams_method, METH_VARARGS, nullptr},
    {"forward_output", forward_output, METH_NOARGS, nullptr},
    {"has_printed", has_printed, METH_NOARGS, nullptr},
    {"running_task", running_task, METH_NOARGS, nullptr},
    {"note_refusal", note_refusal, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool add_process_methods(PyObject* module) noexcept {
  return PyModule_AddFunctions(module, methods) == 0 &&
         PyModule_AddIntConstant(module, "INTERRUPT_SIGNAL", ipc::interrupt_signal()) == 0;
}

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
#include "workers/forwarded_output.hpp"

#include "workers/interpreter_state.hpp"

#include <stdio_ext.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

namespace owngil::workers {
namespace {

InterpreterState* state_of(PyTypeObject* type) noexcept {
  return static_cast<InterpreterState*>(PyType_GetModuleState(type));
}

// write(bytes): the base's, noticed.
PyObject* write(PyObject* self, PyTypeObject* type, PyObject* const* arguments, Py_ssize_t count,
                PyObject* names) noexcept {
  if (count != 1 || names != nullptr) {
    PyErr_SetString(PyExc_TypeError, "write() takes exactly one argument");
    return nullptr;
  }
  ForwardedOutput& output = state_of(type)->output;
  output.written = true;
  PyObject* const both[] = {self, arguments[0]};
  return PyObject_Vectorcall(output.write, both, 2, nullptr);
}

PyMethodDef methods[] = {
    {"write", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(write)),
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {{Py_tp_methods, methods}, {0, nullptr}};

// The size is the base's.
PyType_Spec spec = {"owngil._core.ForwardedWriter", 0, 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                    slots};

// All that is pending goes through the buffer, so that nothing is held back unnoticed; a line's
// end flushes that.
Ref make_stream(const Ref& io, const Ref& buffer_type, int fd, const char* name,
                const char* encoding, const char* errors, PyObject*& buffer) noexcept {
  const Ref raw = Ref::steal(
      PyObject_CallMethod(io.get(), "FileIO", "isO", fd, "w", Py_False));  // closefd: as Python's
  Ref made = Ref::steal(raw ? PyObject_CallOneArg(buffer_type.get(), raw.get()) : nullptr);
  const Ref type = Ref::steal(PyObject_GetAttrString(io.get(), "TextIOWrapper"));
  if (!made || !type) return {};
  Ref stream = Ref::steal(PyObject_CallFunction(type.get(), "OsssOO", made.get(), encoding, errors,
                                                "\n", Py_True, Py_True));
  const Ref shown = Ref::steal(PyUnicode_FromString(name));
  if (!stream || !shown || PyObject_SetAttrString(raw.get(), "name", shown.get()) != 0) return {};
  const Ref mode = Ref::steal(PyUnicode_FromString("w"));
  if (!mode || PyObject_SetAttrString(stream.get(), "mode", mode.get()) != 0) return {};
  Py_XSETREF(buffer, made.release());
  return stream;
}

bool holds_text(int pipe) noexcept {
  int unread = 0;
  return ::ioctl(pipe, FIONREAD, &unread) == 0 && unread > 0;
}

}  // namespace

bool ForwardedOutput::c_holds_back() noexcept { return __fpending(stdout) != 0; }

bool ForwardedOutput::is_in_pipes() const noexcept {
  return holds_text(fds[0]) || holds_text(fds[1]);
}

void ForwardedOutput::flush_all() noexcept {
  written = false;
  for (PyObject* stream : streams) {
    const Ref done = Ref::steal(PyObject_CallMethod(stream, "flush", nullptr));
    if (!done) PyErr_Clear();
  }
  if (c_holds_back()) static_cast<void>(std::fflush(stdout));
}

PyObject* make_output_streams(PyObject* module, const char* encoding, const char* const errors[2],
                              const int fds[2]) noexcept {
  ForwardedOutput& output = interpreter_state(module).output;
  const Ref io = Ref::steal(PyImport_ImportModule("_io"));
  const Ref base = Ref::steal(io ? PyObject_GetAttrString(io.get(), "BufferedWriter") : nullptr);
  if (!base) return nullptr;
  Py_XSETREF(output.write, PyObject_GetAttrString(base.get(), "write"));
  const Ref type = Ref::steal(PyType_FromModuleAndSpec(module, &spec, base.get()));
  if (output.write == nullptr || !type) return nullptr;
  output.fds[0] = fds[0];
  output.fds[1] = fds[1];
  const Ref out = make_stream(io, type, fds[0], "<stdout>", encoding, errors[0], output.streams[0]);
  if (!out) return nullptr;
  const Ref err = make_stream(io, type, fds[1], "<stderr>", encoding, errors[1], output.streams[1]);
  if (!err) return nullptr;
  return PyTuple_Pack(2, out.get(), err.get());
}

}  // namespace owngil::workers

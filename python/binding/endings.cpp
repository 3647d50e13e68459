// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/endings.hpp"

#include "ipc/clock.hpp"
#include "python/binding/gil.hpp"
#include "python/binding/pool.hpp"
#include "python/binding/waiting.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <vector>

namespace owngil::binding {

using runtime::Supervisor;
using runtime::WaitEnd;
using workers::Ref;

namespace {

constexpr std::uint64_t kMs = 1'000'000;

// Whoever has pressed Ctrl-C gets the prompt back though a worker needs longer to give its memory
// back, or hangs in the kernel: it is as good as dead.
constexpr std::uint64_t kHurriedNs = 100 * kMs;

// nullptr: it has none that is this process's.
Supervisor* supervisor_of(PyObject* pool) {
  const auto* self = reinterpret_cast<const PoolObject*>(pool);
  if (self->supervisor == nullptr) return nullptr;
  return is_ours(state_of(Py_TYPE(pool)), self->generation) ? self->supervisor : nullptr;
}

// For signals, too, which may raise what ends the waiting.
Waited wait_for_end(Supervisor& supervisor, std::uint64_t deadline_ns) {
  while (true) {
    WaitEnd end;
    {
      const WithoutGil without_gil;
      end = supervisor.wait_ended(deadline_ns);
    }
    if (end == WaitEnd::ready) return Waited::ready;
    if (PyErr_CheckSignals() < 0) return Waited::error;
    if (end == WaitEnd::timeout) return Waited::timeout;
  }
}

// Whatever signals come: what they raise is raised later.
void wait_in_a_hurry(const std::vector<Supervisor*>& pools) {
  const std::uint64_t deadline_ns = ipc::now_ns() + kHurriedNs;
  const WithoutGil without_gil;
  for (Supervisor* pool : pools) {
    while (pool->wait_ended(deadline_ns) == WaitEnd::signal) {
    }
  }
}

// Python has not run since the interrupt, and runs again only when the workers are dead: another
// one cannot come between.
void end_in_a_hurry(const std::vector<Supervisor*>& pools) {
  for (Supervisor* pool : pools) pool->end_workers(SIGKILL);
  wait_in_a_hurry(pools);
}

bool call_shutdown(PyObject* pool, bool wait) {
  const Ref method = Ref::steal(PyObject_GetAttrString(pool, "shutdown"));
  const Ref none = Ref::steal(PyTuple_New(0));
  const Ref options = Ref::steal(Py_BuildValue("{sO}", "wait", wait ? Py_True : Py_False));
  if (!method || !none || !options) return false;
  return Ref::steal(PyObject_Call(method.get(), none.get(), options.get())).get() != nullptr;
}

// The pools of this process that have not ended.
class OpenPools {
 public:
  explicit OpenPools(const ModuleState& state)
      : pools_(state.runtime != nullptr ? state.runtime->open_pools()
                                        : std::vector<Supervisor*>()) {}
  OpenPools(const OpenPools&) = delete;
  OpenPools& operator=(const OpenPools&) = delete;
  ~OpenPools() {
    for (Supervisor* pool : pools_) pool->release();
  }

  [[nodiscard]] const std::vector<Supervisor*>& all() const { return pools_; }

 private:
  std::vector<Supervisor*> pools_;
};

ModuleState& state_of_module(PyObject* module) {
  return *static_cast<ModuleState*>(PyModule_GetState(module));
}

// wait_pools(): also for those that nobody holds any more.
PyObject* wait_pools(PyObject* module, PyObject*) {
  const OpenPools pools(state_of_module(module));
  for (Supervisor* pool : pools.all()) pool->shutdown(false);
  for (Supervisor* pool : pools.all()) {
    if (wait_for_end(*pool, ipc::kForever) == Waited::error) return nullptr;
  }
  Py_RETURN_NONE;
}

// end_pools(): kills their workers.
PyObject* end_pools(PyObject* module, PyObject*) {
  const OpenPools pools(state_of_module(module));
  end_in_a_hurry(pools.all());
  Py_RETURN_NONE;
}

// let_threads_out(limit): daemon threads that had waited for a result have one now; they take it
// while they still can.
PyObject* let_threads_out(PyObject*, PyObject* limit) {
  std::uint64_t deadline_ns = 0;
  if (!deadline_of(limit, deadline_ns)) return nullptr;
  {
    const WithoutGil without_gil;
    while (Inside::count() > 1 && ipc::now_ns() < deadline_ns) ::usleep(200);
  }
  Py_RETURN_NONE;
}

// close_runtime(limit): ends every process that the runtime has started.
PyObject* close_runtime(PyObject* module, PyObject* limit) {
  const double seconds = PyFloat_AsDouble(limit);
  if (seconds == -1.0 && PyErr_Occurred()) return nullptr;
  runtime::Runtime* const runtime = state_of_module(module).runtime;
  if (runtime != nullptr) {
    const WithoutGil without_gil;
    runtime->close(static_cast<int>(seconds * 1e3));
  }
  Py_RETURN_NONE;
}

// So that a shell sees what ended the program, as it does when Python itself was interrupted.
void die_by_interrupt() {
  std::signal(SIGINT, SIG_DFL);
  std::raise(SIGINT);
  ::_exit(128 + SIGINT);  // process number 1 does not die of it
}

PyObject* exit_by_interrupt(PyObject*, PyObject*) {
  Py_AtExit(die_by_interrupt);
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"wait_pools", wait_pools, METH_NOARGS, nullptr},
    {"end_pools", end_pools, METH_NOARGS, nullptr},
    {"close_runtime", close_runtime, METH_O, nullptr},
    {"let_threads_out", let_threads_out, METH_O, nullptr},
    {"exit_by_interrupt", exit_by_interrupt, METH_NOARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* shutdown_pool(PyObject* pool, PyObject* cancel) {
  const int cancel_futures = PyObject_IsTrue(cancel);
  if (cancel_futures < 0) return nullptr;
  if (Supervisor* supervisor = supervisor_of(pool)) supervisor->shutdown(cancel_futures != 0);
  Py_RETURN_NONE;
}

PyObject* end_workers(PyObject* pool, PyObject* signal_number) {
  const int number = static_cast<int>(PyLong_AsLong(signal_number));
  if (number == -1 && PyErr_Occurred()) return nullptr;
  if (Supervisor* supervisor = supervisor_of(pool)) supervisor->end_workers(number);
  Py_RETURN_NONE;
}

// _wait_ended(timeout) -> whether it has
PyObject* wait_ended(PyObject* pool, PyObject* timeout) {
  std::uint64_t deadline_ns = 0;
  if (!deadline_of(timeout, deadline_ns)) return nullptr;
  Supervisor* supervisor = supervisor_of(pool);
  if (supervisor == nullptr) Py_RETURN_TRUE;
  switch (wait_for_end(*supervisor, deadline_ns)) {
    case Waited::ready: break;
    case Waited::timeout: Py_RETURN_FALSE;
    case Waited::error: return nullptr;
  }
  // A program that submits once and ends must see them, too.
  if (!give_notes(*state_of(Py_TYPE(pool)))) return nullptr;
  Py_RETURN_TRUE;
}

// __exit__(type, value, traceback). An interrupt, whether it came in the block or while this waits,
// ends the workers.
PyObject* exit_pool(PyObject* pool, PyObject* const* args, Py_ssize_t nargs) {
  Supervisor* const supervisor = supervisor_of(pool);
  if (supervisor != nullptr && nargs > 0 && args[0] != Py_None &&
      PyErr_GivenExceptionMatches(args[0], PyExc_KeyboardInterrupt) != 0) {
    end_in_a_hurry({supervisor});
    if (!call_shutdown(pool, false)) {
      if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) == 0) return nullptr;
      PyErr_Clear();  // one is on its way already
    }
    Py_RETURN_FALSE;
  }
  if (call_shutdown(pool, true)) Py_RETURN_FALSE;
  if (supervisor != nullptr && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0) {
    Ref interrupt = Ref::steal(PyErr_GetRaisedException());
    end_in_a_hurry({supervisor});
    PyErr_SetRaisedException(interrupt.release());
  }
  return nullptr;
}

PyMethodDef* ending_methods() noexcept { return methods; }

}  // namespace owngil::binding

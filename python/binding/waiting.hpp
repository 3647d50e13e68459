// SPDX-License-Identifier: BSD-3-Clause
// How a Python thread waits: a moment with the GIL, then without it, and back for signals.
#pragma once

#include "ipc/clock.hpp"
#include "ipc/futex.hpp"
#include "python/binding/gil.hpp"
#include "runtime/supervisor.hpp"
#include "workers/python.hpp"

#include <cmath>
#include <cstdint>

namespace owngil::binding {

// Giving up the GIL beside a thread that computes costs a switch interval (5 ms) to get it back;
// a short task is answered before that.
inline constexpr std::uint64_t kSpinWithGilNs = 25'000;

enum class Waited { ready, timeout, error };

// `what` is a Task or a MapJob.
template <class What>
Waited wait_for(runtime::Supervisor& supervisor, What& what, std::uint64_t deadline_ns) {
  if (supervisor.spin(what, kSpinWithGilNs)) return Waited::ready;
  while (true) {
    runtime::WaitEnd end;
    {
      const WithoutGil without_gil;
      end = supervisor.wait(what, deadline_ns);
    }
    if (end == runtime::WaitEnd::ready) return Waited::ready;
    if (PyErr_CheckSignals() < 0) return Waited::error;
    if (end == runtime::WaitEnd::timeout) return Waited::timeout;
  }
}

// `timeout`: seconds or None. False: an exception is set.
inline bool deadline_of(PyObject* timeout, std::uint64_t& deadline_ns) {
  deadline_ns = ipc::kForever;
  if (timeout == nullptr || timeout == Py_None) return true;
  const double seconds = PyFloat_AsDouble(timeout);
  if (seconds == -1.0 && PyErr_Occurred()) return false;
  if (std::isnan(seconds)) {
    PyErr_SetString(PyExc_ValueError, "timeout must not be NaN");
    return false;
  }
  if (seconds > 3e9) return true;  // a century: for ever
  const std::uint64_t now = ipc::now_ns();
  deadline_ns = seconds <= 0 ? now : now + static_cast<std::uint64_t>(seconds * 1e9);
  return true;
}

}  // namespace owngil::binding

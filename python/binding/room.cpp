// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/room.hpp"

#include "python/binding/gil.hpp"
#include "workers/python.hpp"

#include <cstdint>
#include <string>

namespace owngil::binding {

using runtime::Room;
using workers::Ref;

namespace {

std::string number(std::uint64_t bytes) { return std::to_string(bytes) + " bytes"; }

// Whoever has one has imported asyncio.
bool has_event_loop() {
  const Ref name = Ref::steal(PyUnicode_FromString("asyncio.events"));
  const Ref module = Ref::steal(name ? PyImport_GetModule(name.get()) : nullptr);
  const Ref loop = Ref::steal(
      module ? PyObject_CallMethod(module.get(), "_get_running_loop", nullptr) : nullptr);
  if (!loop) PyErr_Clear();
  return loop && loop.get() != Py_None;
}

void refuse(runtime::Supervisor& supervisor, std::size_t size, const char* why) {
  const runtime::Holdings held = supervisor.holdings();
  std::string text = "owngil: no shared memory for " + number(size) +
                     " of a call's arguments: " + number(held.in_use) + " of at most " +
                     number(held.limit) + " (arena_limit) are in use";
  for (const auto& worker : held.workers) {
    text += ", " + number(worker.bytes) + " by worker " + std::to_string(worker.lane) + " (pid " +
            std::to_string(worker.pid) + ")";
  }
  PyErr_SetString(PyExc_MemoryError, (text + "; " + why).c_str());
}

}  // namespace

bool wait_for_room(runtime::Supervisor& supervisor, std::size_t size) {
  if (has_event_loop()) {
    refuse(supervisor, size, "this thread runs an event loop, so nobody waits until there is more");
    return false;
  }
  Room room = Room::signal;
  {
    const WithoutGil without_gil;
    room = supervisor.wait_for_room(size);
  }
  switch (room) {
    case Room::perhaps: return true;
    case Room::signal: return PyErr_CheckSignals() == 0;
    case Room::never: refuse(supervisor, size, "it can never fit"); break;
    case Room::none:
      refuse(supervisor, size,
             "nothing runs that could give some back, or the system has no memory left");
  }
  return false;
}

}  // namespace owngil::binding

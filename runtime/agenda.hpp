// SPDX-License-Identifier: BSD-3-Clause
// What a pool has to do at a time that is known beforehand: end a task whose deadline has come,
// run one again after its back-off.
//
// Threads: guarded by the supervisor's mutex.
// Lifetime: an appointment lives until it is taken or removed; what it names must outlive it.
// Not: a timer. Whoever owns it looks at next_ns() and comes back in time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace owngil::runtime {

struct MapJob;
struct Task;

struct Appointment {
  enum class What : std::uint8_t { deadline, map_deadline, retry } what;
  Task* task;   // of deadline and retry
  MapJob* map;  // of map_deadline
};

class Agenda {
 public:
  using Entry = std::multimap<std::uint64_t, Appointment>::iterator;

  Entry add(std::uint64_t when_ns, const Appointment& appointment) {
    return entries_.emplace(when_ns, appointment);
  }
  void remove(Entry entry) { entries_.erase(entry); }

  std::optional<std::uint64_t> next_ns() const {
    if (entries_.empty()) return std::nullopt;
    return entries_.begin()->first;
  }

  template <class Function>
  void for_each(Function&& function) const {
    for (const auto& [when_ns, appointment] : entries_) function(appointment);
  }

  // The earliest, if its time has come; it stays until it is removed.
  const Appointment* due(std::uint64_t now_ns) const {
    if (entries_.empty() || entries_.begin()->first > now_ns) return nullptr;
    return &entries_.begin()->second;
  }

 private:
  std::multimap<std::uint64_t, Appointment> entries_;
};

}  // namespace owngil::runtime

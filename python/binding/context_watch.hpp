// SPDX-License-Identifier: BSD-3-Clause
// Notices that the user changed what workers must see: cwd, environment, sys.path, sys.argv,
// warnings, levels of loggers.
//
// Threads: needs the GIL; chdir and putenv are noticed from an audit hook, on any thread.
// Lifetime: the watch of one pool; owns what it compares with.
// Not: the context itself, which owngil._context captures once there is a change.
#pragma once

#include "workers/python.hpp"

#include <cstdint>
#include <vector>

namespace owngil::binding {

// Makes chdir and putenv count. Once a process; -1 with an exception set.
int install_audit_hook();

class ContextWatch {
 public:
  // False: an exception is set.
  bool prepare();

  // Whether something has changed since the last call; true at the first.
  bool has_changed();
  int traverse(visitproc visit, void* arg) const;
  void clear();

 private:
  struct WatchedList {
    PyObject* list = nullptr;
    std::vector<PyObject*> items;  // owned, so that no address is used again
  };

  PyObject* present_filters() const;
  bool find_level_cache();
  bool levels_have_changed();
  static bool same(WatchedList& watched, PyObject* present);
  static void drop(WatchedList& watched);

  // Borrowed from the interpreter, which outlives the pool; and names, owned.
  PyObject* sys_names_ = nullptr;
  PyObject* path_name_ = nullptr;
  PyObject* argv_name_ = nullptr;
  PyObject* warnings_name_ = nullptr;
  PyObject* filters_name_ = nullptr;
  PyObject* managers_name_ = nullptr;
  PyObject* level_cache_ = nullptr;  // the root logger's, owned; nullptr: it has none
  PyObject* level_mark_ = nullptr;   // in that cache

  WatchedList path_;
  WatchedList argv_;
  WatchedList filters_;
  std::uint64_t epoch_ = ~std::uint64_t{0};
  bool managers_ = false;
};

}  // namespace owngil::binding

// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/context_watch.hpp"

#include <atomic>
#include <cstring>

namespace owngil::binding {

namespace {

// Counts chdir and putenv of this process. An audit hook cannot be removed, so neither can this.
std::atomic<std::uint64_t> environment_epoch{0};
std::atomic<bool> hook_installed{false};

int audit(const char* event, PyObject*, void*) {
  // Every audited event of the process comes by: look at as little as possible.
  if (event[0] != 'o' || event[1] != 's' || event[2] != '.') return 0;
  const char* name = event + 3;
  if (std::strcmp(name, "chdir") == 0 || std::strcmp(name, "putenv") == 0 ||
      std::strcmp(name, "unsetenv") == 0) {
    environment_epoch.fetch_add(1, std::memory_order_relaxed);
  }
  return 0;
}

}  // namespace

int install_audit_hook() {
  if (hook_installed.exchange(true)) return 0;
  return PySys_AddAuditHook(audit, nullptr);
}

bool ContextWatch::prepare() {
  PyObject* sys = PyImport_AddModule("sys");
  if (sys == nullptr) return false;
  sys_names_ = PyModule_GetDict(sys);
  // Interned, with their hash in them: a look-up costs a few nanoseconds.
  return (path_name_ = PyUnicode_InternFromString("path")) != nullptr &&
         (argv_name_ = PyUnicode_InternFromString("argv")) != nullptr &&
         (warnings_name_ = PyUnicode_InternFromString("warnings")) != nullptr &&
         (filters_name_ = PyUnicode_InternFromString("filters")) != nullptr &&
         (managers_name_ = PyUnicode_InternFromString("multiprocessing.managers")) != nullptr &&
         (level_mark_ = PyLong_FromVoidPtr(this)) != nullptr && find_level_cache();
}

// The standard pools' futures have imported `logging` long before.
bool ContextWatch::find_level_cache() {
  const workers::Ref logging = workers::Ref::steal(PyImport_ImportModule("logging"));
  if (!logging) return false;
  const workers::Ref root = workers::Ref::steal(PyObject_GetAttrString(logging.get(), "root"));
  if (!root) return false;
  level_cache_ = PyObject_GetAttrString(root.get(), "_cache");
  if (level_cache_ == nullptr) PyErr_Clear();
  if (level_cache_ != nullptr && !PyDict_Check(level_cache_)) Py_CLEAR(level_cache_);
  return true;
}

// Whenever any logger's level changes, `logging` empties the caches of all: a mark of ours in the
// root's is gone then. Its keys are levels, and no level is the address of this object.
bool ContextWatch::levels_have_changed() {
  if (level_cache_ == nullptr || PyDict_GetItemWithError(level_cache_, level_mark_) != nullptr) {
    return false;
  }
  if (PyDict_SetItem(level_cache_, level_mark_, Py_True) < 0) PyErr_Clear();
  return true;
}

bool ContextWatch::has_changed() {
  // The hook hears of a chdir before it happens: another thread's may be seen a call too early,
  // and is noticed again only with the next change. The caller's own is never missed.
  const std::uint64_t epoch = environment_epoch.load(std::memory_order_relaxed);
  bool changed = epoch != epoch_;
  epoch_ = epoch;
  changed |= !same(path_, PyDict_GetItemWithError(sys_names_, path_name_));
  changed |= !same(argv_, PyDict_GetItemWithError(sys_names_, argv_name_));
  changed |= !same(filters_, present_filters());
  // Once there are managers, their key belongs to the context.
  const bool managers =
      PyDict_GetItemWithError(PyImport_GetModuleDict(), managers_name_) != nullptr;
  changed |= managers != managers_;
  changed |= levels_have_changed();
  managers_ = managers;
  return changed;
}

PyObject* ContextWatch::present_filters() const {
  PyObject* warnings = PyDict_GetItemWithError(PyImport_GetModuleDict(), warnings_name_);
  if (warnings == nullptr || !PyModule_Check(warnings)) return nullptr;
  return PyDict_GetItemWithError(PyModule_GetDict(warnings), filters_name_);
}

bool ContextWatch::same(WatchedList& watched, PyObject* present) {
  if (present != nullptr && !PyList_Check(present)) present = nullptr;
  const Py_ssize_t size = present != nullptr ? PyList_GET_SIZE(present) : 0;
  bool same = present == watched.list && static_cast<std::size_t>(size) == watched.items.size();
  for (Py_ssize_t i = 0; same && i < size; ++i) {
    same = PyList_GET_ITEM(present, i) == watched.items[static_cast<std::size_t>(i)];
  }
  if (same) return true;
  drop(watched);
  watched.list = Py_XNewRef(present);
  for (Py_ssize_t i = 0; i < size; ++i) {
    watched.items.push_back(Py_NewRef(PyList_GET_ITEM(present, i)));
  }
  return false;
}

void ContextWatch::drop(WatchedList& watched) {
  std::vector<PyObject*> items;
  items.swap(watched.items);
  Py_CLEAR(watched.list);
  for (PyObject* item : items) Py_DECREF(item);
}

int ContextWatch::traverse(visitproc visit, void* arg) const {
  for (const WatchedList* watched : {&path_, &argv_, &filters_}) {
    Py_VISIT(watched->list);
    for (PyObject* item : watched->items) Py_VISIT(item);
  }
  return 0;
}

void ContextWatch::clear() {
  drop(path_);
  drop(argv_);
  drop(filters_);
  Py_CLEAR(path_name_);
  Py_CLEAR(argv_name_);
  Py_CLEAR(warnings_name_);
  Py_CLEAR(filters_name_);
  Py_CLEAR(managers_name_);
  Py_CLEAR(level_mark_);
  Py_CLEAR(level_cache_);
}

}  // namespace owngil::binding

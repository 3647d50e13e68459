// SPDX-License-Identifier: BSD-3-Clause
// In C, because CPython's internal headers are.
#include "python/binding/gil/gil_view.h"

#if OWNGIL_GIL_IS_VISIBLE
#define Py_BUILD_CORE 1
#include <Python.h>

#include <internal/pycore_gil.h>
#include <internal/pycore_interp.h>

int owngil_find_gil(struct owngil_gil_view* view) {
  const struct _gil_runtime_state* gil = PyInterpreterState_Get()->ceval.gil;
  if (gil == NULL) return 0;
  view->begin = (const char*)gil;
  view->size_bytes = sizeof *gil;
  // Atomics of one word each, which have the layout of what they hold.
  view->locked = (const volatile int*)&gil->locked;
  view->last_holder = (const void* const volatile*)&gil->last_holder;
  view->switch_number = &gil->switch_number;
  view->native_thread_id_offset = offsetof(PyThreadState, native_thread_id);
  return 1;
}
#else
int owngil_find_gil(struct owngil_gil_view* view) {
  (void)view;
  return 0;
}
#endif

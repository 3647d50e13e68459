// SPDX-License-Identifier: BSD-3-Clause
// Where an interpreter keeps its GIL, so that others can look at it without taking it.
//
// Threads: find_gil needs the GIL; what it finds may be read by any thread at any time.
// Lifetime: as long as the interpreter lives.
// Not: a way to change anything. Layouts are those of the Python that this was compiled for.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct owngil_gil_view {
  const char* begin;  // of the whole struct: who waits for the GIL waits on a futex in it
  size_t size_bytes;
  const volatile int* locked;
  const void* const volatile* last_holder;  // a PyThreadState; it may be gone
  const volatile unsigned long* switch_number;
  size_t native_thread_id_offset;  // in a PyThreadState
};

// Returns 0 if this build of the module does not know where it is.
int owngil_find_gil(struct owngil_gil_view* view);

#ifdef __cplusplus
}
#endif

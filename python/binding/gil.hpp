// SPDX-License-Identifier: BSD-3-Clause
// A scope without the GIL, and who may lose it here.
//
// Threads: any that has the GIL.
// Not: a way back while the interpreter ends. It ends a daemon thread that wants the GIL back then,
//   before CPython 3.14 by unwinding its stack, which C++ frames do not survive: whose destructors
//   would touch objects without the GIL. So the exit waits a moment until nobody is in here, and
//   who comes too late stands still, as it does since 3.14.
#pragma once

#include "workers/python.hpp"

#include <unistd.h>

#include <atomic>

namespace owngil::binding {

// Counts the threads that may lose the GIL below a C++ frame: who waits without it, and who lets
// Python code run to decode what it has waited for.
class Inside {
 public:
  Inside() noexcept { count_.fetch_add(1, std::memory_order_relaxed); }  // relaxed: the GIL orders
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() { count_.fetch_sub(1, std::memory_order_relaxed); }  // as in the constructor

  [[nodiscard]] static int count() noexcept {
    return count_.load(std::memory_order_relaxed);  // a look that is repeated
  }

 private:
  static inline std::atomic<int> count_{0};
};

class WithoutGil {
 public:
  WithoutGil() noexcept : thread_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;
  ~WithoutGil() {
    try {
      PyEval_RestoreThread(thread_);
    } catch (...) {  // the unwinding of pthread_exit, which goes on when a handler is left
      for (;;) ::pause();
    }
  }

 private:
  Inside inside_;
  PyThreadState* thread_;
};

}  // namespace owngil::binding

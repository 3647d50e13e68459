// SPDX-License-Identifier: BSD-3-Clause
// A scope without the GIL.
#pragma once

#include "workers/python.hpp"

namespace owngil::binding {

class WithoutGil {
 public:
  WithoutGil() : thread_(PyEval_SaveThread()) {}
  ~WithoutGil() { PyEval_RestoreThread(thread_); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* thread_;
};

}  // namespace owngil::binding

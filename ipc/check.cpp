// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace owngil::ipc {

void check_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "owngil: %s:%d: this should hold: %s\n", file, line, condition);
  std::abort();
}

}  // namespace owngil::ipc

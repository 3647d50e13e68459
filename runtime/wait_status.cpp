// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/wait_status.hpp"

#include <sys/wait.h>

#include <cstring>

namespace owngil::runtime {

std::string describe_wait_status(int wait_status) {
  if (!WIFSIGNALED(wait_status)) return "exit code " + std::to_string(WEXITSTATUS(wait_status));
  const int number = WTERMSIG(wait_status);
  const char* const name = ::sigabbrev_np(number);
  return name != nullptr ? std::string("killed by SIG") + name
                         : "killed by signal " + std::to_string(number);
}

}  // namespace owngil::runtime

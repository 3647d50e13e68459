// SPDX-License-Identifier: BSD-3-Clause
// How a process ended, in words.
#pragma once

#include <string>

namespace owngil::runtime {

// "killed by SIGSEGV", "exit code 3".
[[nodiscard]] std::string describe_wait_status(int wait_status);

}  // namespace owngil::runtime

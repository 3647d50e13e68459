// SPDX-License-Identifier: BSD-3-Clause
// Options of a pool whose workers run the Python and the package that are tested.
#pragma once

#include <owngil/pool.hpp>

namespace owngil::testing {

inline PoolOptions with_workers(unsigned workers) {
  return {.workers = workers, .python = OWNGIL_TEST_PYTHON, .package = OWNGIL_TEST_PACKAGE};
}

}  // namespace owngil::testing

// SPDX-License-Identifier: BSD-3-Clause
// The shortest program: one call.
#include <cstdint>
#include <iostream>
#include <owngil/pool.hpp>

int main() {
  owngil::Pool pool;
  std::cout << pool.submit("math:factorial", 20).get<std::int64_t>() << '\n';
}

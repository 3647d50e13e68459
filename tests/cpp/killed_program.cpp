// SPDX-License-Identifier: BSD-3-Clause
// A program for pool_test.cpp to kill: prints the pid of a worker, then waits for what never ends.
#include <cstdint>
#include <iostream>
#include <owngil/pool.hpp>
#include <vector>

int main(int, char** argv) {
  owngil::Pool pool{{.workers = 2, .python = argv[1], .package = argv[2]}};
  std::cout << pool.submit("os:getpid").get<std::int64_t>() << '\n';
  std::vector<owngil::Future> endless;
  for (int i = 0; i != 2; ++i) endless.push_back(pool.submit("time:sleep", 1e6));
  std::cout << "ready" << std::endl;
  endless[0].wait();
}

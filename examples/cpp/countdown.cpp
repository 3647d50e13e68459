// SPDX-License-Identifier: BSD-3-Clause
// Pure Python in parallel: two countdowns one after the other, then side by side.
#include <chrono>
#include <iostream>
#include <owngil/pool.hpp>
#include <vector>

namespace {

constexpr const char* kCountdown = R"(
n = 5_000_000
while n:
    n -= 1
)";

double seconds_since(std::chrono::steady_clock::time_point began) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

}  // namespace

int main() {
  constexpr unsigned kWorkers = 2;
  const owngil::Pool pool{{.workers = kWorkers}};
  // Both are up, and have something to do, before the clock runs.
  std::vector<owngil::Future> futures;
  const auto run_all = [&] {
    for (owngil::Future& future : futures) future.get();
    futures.clear();
  };
  for (unsigned i = 0; i != kWorkers; ++i) futures.push_back(pool.submit("time:sleep", 0.05));
  run_all();

  auto began = std::chrono::steady_clock::now();
  for (unsigned i = 0; i != kWorkers; ++i) pool.submit("builtins:exec", kCountdown).get();
  const double serial = seconds_since(began);

  began = std::chrono::steady_clock::now();
  for (unsigned i = 0; i != kWorkers; ++i)
    futures.push_back(pool.submit("builtins:exec", kCountdown));
  run_all();
  const double parallel = seconds_since(began);

  std::cout << kWorkers << " countdowns: " << serial << " s one after the other, " << parallel
            << " s at once\n";
}

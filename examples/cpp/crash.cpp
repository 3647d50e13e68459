// SPDX-License-Identifier: BSD-3-Clause
// A crash, an exception and a task that takes too long: each is one task's, and the pool goes on.
#include <chrono>
#include <exception>
#include <iostream>
#include <owngil/pool.hpp>
#include <vector>

int main() {
  using namespace std::chrono_literals;
  const owngil::Pool pool{{.workers = 2}};
  std::vector<owngil::Future> futures;
  futures.push_back(pool.submit("ctypes:string_at", 0));  // reads address 0
  futures.push_back(pool.submit("math:sqrt", -1));
  futures.push_back(pool.options({.timeout = 200ms}).submit("time:sleep", 60));
  for (int n = 1; n != 6; ++n) futures.push_back(pool.submit("math:factorial", n));

  for (owngil::Future& future : futures) {
    try {
      std::cout << future.get<int>() << '\n';
    } catch (const owngil::WorkerDied& error) {
      std::cout << "worker died of signal " << error.death.signal.value_or(0) << " in "
                << error.facts.task_name << '\n';
    } catch (const owngil::PythonError& error) {
      std::cout << error.type << ": " << error.message << '\n';
    } catch (const owngil::TaskTimeout& error) {
      std::cout << error.facts.task_name << " was stopped\n";
    }
  }
}

// SPDX-License-Identifier: BSD-3-Clause
// What a C++ program waits for: its first result, a call, a countdown. Prints seconds as JSON.
// Arguments: the interpreter, the package, the folder of harness, the countdown's start.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <owngil/pool.hpp>

namespace {

constexpr int kCalls = 3000;
constexpr int kPractice = 200;

class Clock {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

// One that gives another result than it must has measured nothing.
void check(bool right) {
  if (!right) std::abort();
}

}  // namespace

int main(int argc, char** argv) {
  check(argc == 5);
  const std::int64_t start = std::strtoll(argv[4], nullptr, 10);
  const Clock opening;
  const owngil::Pool pool{{.workers = 1, .python = argv[1], .package = argv[2], .path = {argv[3]}}};
  check(pool.submit("harness.work:identity", 7).get<int>() == 7);
  std::cout << "{\"first\": [" << opening.seconds() << "], \"call\": [";
  for (int i = -kPractice; i != kCalls; ++i) {
    const Clock call;
    check(pool.submit("harness.work:identity", i).get<int>() == i);
    if (i >= 0) std::cout << (i > 0 ? ", " : "") << call.seconds();
  }
  const Clock counting;
  check(pool.submit("harness.work:countdown", start).get<int>() == 0);
  std::cout << "], \"countdown\": [" << counting.seconds() << "]}\n";
}

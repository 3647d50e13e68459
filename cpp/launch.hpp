// SPDX-License-Identifier: BSD-3-Clause
// How to start a Python that becomes a template or a worker: asked of that Python itself, once.
//
// Where the program that calls is Python, owngil._bootstrap says it there. Here a Python is started
// that loads the package and asks the same module (owngil._embedding): so there is one place that
// knows the stub, and a Python of the wrong version is told before any worker is.
// Threads: any; takes as long as a Python needs to start (10 to 20 ms).
// Not: a cache; Engine has one.
#pragma once

#include "owngil/options.hpp"
#include "runtime/process_host.hpp"

#include <string>
#include <vector>

namespace owngil::cpp {

// What the answer depends on.
struct LaunchQuestion {
  std::string python;   // as PoolOptions has it
  std::string package;  // the same; a folder
  std::vector<std::string> preload;
  std::vector<std::string> env;  // of the workers, "NAME=value"
  std::string cwd;
  bool spawn = false;
  bool hosts = false;              // of interpreters
  bool ignores_interrupt = false;  // SIGINT is ignored here

  auto operator<=>(const LaunchQuestion&) const = default;
};

struct LaunchAnswer {
  runtime::LaunchSpec spec;
  bool reuses_places = false;  // as runtime::Hosting has it; by version of Python
};

LaunchQuestion launch_question(const PoolOptions& options, unsigned threads_per_worker);

// Throws StartError.
LaunchAnswer ask_python(const LaunchQuestion& question);

}  // namespace owngil::cpp

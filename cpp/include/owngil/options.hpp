// SPDX-License-Identifier: BSD-3-Clause
// What can be said of a pool and of a task. All have defaults; durations of 0 mean "none".
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace owngil {

enum class Kind {
  process,      // each worker is a process with an interpreter of its own
  interpreter,  // each worker is an interpreter of its own in a shared host process
};

enum class Start {
  from_template,  // workers are forked from a small Python process that was started for it
  spawn,          // a new Python for each worker, for libraries that must not be forked
};

// Aggregates, for designated initialisers: Pool pool{{.workers = 4, .preload = {"numpy"}}}.
struct PoolOptions {
  unsigned workers = 0;  // 0: as many as CPUs that this process may use (affinity, cgroup quota)
  Kind kind = Kind::process;
  unsigned hosts = 0;  // with Kind::interpreter: how many processes the workers share, each a
                       // failure domain; 0: one
  Start start = Start::from_template;
  // The interpreter: a path, or a name that is searched for on $PATH; that of a virtual environment
  // brings its packages. Empty: $OWNGIL_PYTHON, or else python3, or else the program that embeds
  // Python (owngil-host), where that was installed. It must be of the version that this library was
  // built for.
  std::string python = {};
  // The folder of the Python package owngil of the same build. Empty: lib/owngil beside this library.
  std::string package = {};
  std::vector<std::string> path = {};     // comes first on sys.path, before $PYTHONPATH
  std::vector<std::string> preload = {};  // modules that are imported once, for all workers
  std::string initializer = {};  // "module:function", called without arguments in each worker
                                 // before its first task; if it raises, the pool is broken
  std::uint64_t max_tasks_per_worker = 0;    // then it is replaced; 0: never
  std::uint64_t max_memory_per_worker = 0;   // private bytes; above, it is replaced after its task
  std::chrono::nanoseconds idle_timeout{0};  // a worker with nothing to do for so long leaves
  // More workers lost than this within the window, with no task to blame, break the pool.
  std::optional<std::uint64_t> max_restarts = {};  // nothing: 4 for each worker
  std::chrono::nanoseconds restart_window = std::chrono::seconds(10);
  unsigned threads_per_worker = 0;  // limit for BLAS and OpenMP; 0: CPUs / workers
  bool kill_orphans = true;  // what a worker has started ends with it; else with this program
  std::string name = {};     // as owngil.worker().pool shows it inside a task
};

struct TaskOptions {
  std::chrono::nanoseconds timeout{0};   // that it may run; then its worker is killed: TaskTimeout
  std::chrono::nanoseconds deadline{0};  // from its submission, the time in the queue included
  std::uint32_t retries = 0;    // how often it may run again after the death of its worker, and …
  bool retry_timeouts = false;  // … after its timeout
  std::vector<std::string> retry_on = {};  // … after these exceptions: "module:name" of classes
  std::chrono::nanoseconds backoff{0};     // before the first retry; doubled before each further
  bool cancel_running = false;             // cancel() stops it also when it has begun
  std::chrono::nanoseconds grace = std::chrono::seconds(1);  // from the order to stop to SIGKILL
};

struct CancelOptions {
  bool running = false;  // also if it has begun: TaskCancelled is raised in it, and after …
  std::optional<std::chrono::nanoseconds> grace = {};  // … (the task's own) its worker is killed
};

struct ShutdownOptions {
  bool cancel_pending = false;          // what no worker has begun
  std::chrono::nanoseconds timeout{0};  // to wait; then workers are killed. 0: no limit
};

}  // namespace owngil

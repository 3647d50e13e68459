// SPDX-License-Identifier: BSD-3-Clause
// What goes wrong, as exceptions.
//
//   Error                     std::runtime_error
//   ├─ BadConversion          a value is not what as<T>() asked for
//   ├─ StartError             there is no Python that could run workers; it says what to do
//   ├─ PoolClosed             a task was submitted after shutdown(), or used in a child of fork()
//   ├─ PoolBroken             the pool cannot run tasks any more
//   └─ TaskError              a task has no result
//      ├─ PythonError         it has raised a Python exception
//      ├─ TaskCancelled       it was cancelled, or told to stop
//      ├─ TaskTimeout         one of its limits has passed
//      └─ WorkerDied          its worker died; the pool lives on
//         └─ PoisonTask       so it did in each of its runs, and by the task's own fault
//
// What the system refuses (memory, descriptors, processes) comes as std::system_error or
// std::bad_alloc, wrong arguments as std::invalid_argument.
// Threads: as any value.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <owngil/export.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace owngil {

class OWNGIL_EXPORT Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~Error() override;
};

class OWNGIL_EXPORT BadConversion : public Error {
 public:
  using Error::Error;
  ~BadConversion() override;
};

class OWNGIL_EXPORT StartError : public Error {
 public:
  using Error::Error;
  ~StartError() override;
};

class OWNGIL_EXPORT PoolClosed : public Error {
 public:
  using Error::Error;
  ~PoolClosed() override;
};

// `causes`: what the initializer raised, or how the last few workers were lost; a line for each.
class OWNGIL_EXPORT PoolBroken : public Error {
 public:
  PoolBroken(const std::string& text, std::vector<std::string> causes_)
      : Error(text), causes(std::move(causes_)) {}
  ~PoolBroken() override;

  std::vector<std::string> causes;
};

// `attempts`: how the runs before the last one ended, if the task was run again; a line for each.
class OWNGIL_EXPORT TaskError : public Error {
 public:
  using Error::Error;
  ~TaskError() override;

  std::vector<std::string> attempts = {};
};

// what() is "type: message", and below it the worker's traceback.
class OWNGIL_EXPORT PythonError : public TaskError {
 public:
  PythonError(std::string type, std::string message, std::string traceback,
              std::vector<std::byte> pickle);
  ~PythonError() override;

  std::string type;                // of the exception; with its module unless that is builtins
  std::string message;             // str(exception)
  std::string traceback;           // as Python prints it; empty: it could not be had
  std::vector<std::byte> pickled;  // the exception; empty: it cannot be pickled
};

class OWNGIL_EXPORT TaskCancelled : public TaskError {
 public:
  using TaskError::TaskError;
  ~TaskCancelled() override;
};

// What is known of a task that did not end by itself, and of its worker.
struct TaskFacts {
  std::uint64_t task_id = 0;                         // the pool's number of it
  std::string task_name = {};                        // "module.function"
  std::optional<std::chrono::nanoseconds> ran = {};  // for how long; nothing: it had not begun
  int pid = 0;                                       // of the worker; 0: there was none
  int rank = -1;                                     // the worker's place in the pool
  std::string stack = {};  // the worker's Python stacks, as faulthandler writes them; empty: none
};

class OWNGIL_EXPORT TaskTimeout : public TaskError {
 public:
  TaskTimeout(const std::string& text, TaskFacts facts_, std::chrono::nanoseconds limit_,
              bool of_deadline_)
      : TaskError(text), facts(std::move(facts_)), limit(limit_), of_deadline(of_deadline_) {}
  ~TaskTimeout() override;

  TaskFacts facts;
  std::chrono::nanoseconds limit;
  bool of_deadline;  // counted from the submission; else from when it had begun
};

struct DeathFacts {
  std::optional<int> signal = {};  // one of these two, unless nobody could find out
  std::optional<int> exit_code = {};
  bool broke_protocol = false;       // the pool killed it: it had written over its shared memory
  std::uint64_t peak_rss_bytes = 0;  // the most memory that it ever had; 0: unknown
  std::optional<bool> oom = {};  // whether the kernel has probably killed it for lack of memory;
                                 // nothing: nobody counts such kills here
  // Whether another worker in the same process was to blame, as with Kind::interpreter; nothing:
  // nobody can tell who was.
  std::optional<bool> collateral = false;
};

class OWNGIL_EXPORT WorkerDied : public TaskError {
 public:
  WorkerDied(const std::string& text, TaskFacts facts_, DeathFacts death_)
      : TaskError(text), facts(std::move(facts_)), death(death_) {}
  ~WorkerDied() override;

  TaskFacts facts;
  DeathFacts death;
};

class OWNGIL_EXPORT PoisonTask : public WorkerDied {
 public:
  using WorkerDied::WorkerDied;
  ~PoisonTask() override;
};

}  // namespace owngil

// SPDX-License-Identifier: BSD-3-Clause
// Runs Python functions in parallel from C++: workers, each with an interpreter and a GIL of its
// own, in processes beside this one. This program needs no Python in it.
//
//   owngil::Pool pool{{.workers = 4}};
//   auto future = pool.submit("math:factorial", 20);
//   std::cout << future.get<std::int64_t>();
//
// Threads: any, for every method, at the same time; but not its destruction.
// Lifetime: the destructor waits for all that was submitted, never throws, and does so also while
//   an exception leaves the block; kill() before it makes it prompt. When the program ends without
//   it (exit, abort, SIGKILL), workers and all that they started are gone within a second.
// fork(): a child has the pool closed, and may make its own; the parent notices nothing.
// Not: a Python. What tasks print goes to this program's stdout and stderr.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <memory>
#include <owngil/errors.hpp>
#include <owngil/export.hpp>
#include <owngil/future.hpp>
#include <owngil/options.hpp>
#include <owngil/value.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace owngil {

namespace cpp {
class Session;
}

// A keyword argument: pool.submit("builtins:sorted", numbers, named("reverse", true)).
struct Named {
  std::string name;
  Value value;
};
inline Named named(std::string name, Value value) { return {std::move(name), std::move(value)}; }

struct Arguments {
  std::vector<Value> positional = {};
  std::vector<Named> keywords = {};

  template <typename T>
  void add(T&& argument) {
    if constexpr (std::same_as<std::decay_t<T>, Named>) {
      keywords.push_back(std::forward<T>(argument));
    } else {
      positional.emplace_back(std::forward<T>(argument));
    }
  }
};

struct WorkerStats {
  int rank;
  int pid;                    // 0: not started yet
  std::uint32_t outstanding;  // tasks that it was given and has not answered
  std::uint64_t tasks_done;
  std::chrono::nanoseconds busy;
};

struct PoolStats {
  std::vector<WorkerStats> workers;  // by rank
  std::uint64_t pending;             // tasks that are not complete
  std::uint64_t running;             // workers that have a task
  std::uint64_t restarts;            // of workers that died, or could not be started
};

// A view of a pool that submits on terms: pool.options({.timeout = 2s}).submit(…). Refers to the
// pool's inside, and may outlive it.
class OWNGIL_EXPORT Submitter {
 public:
  explicit Submitter(std::shared_ptr<cpp::Session> session) noexcept;
  Submitter(std::shared_ptr<cpp::Session> session, const TaskOptions& options);
  Submitter(const Submitter&);
  Submitter(Submitter&&) noexcept;
  Submitter& operator=(const Submitter&);
  Submitter& operator=(Submitter&&) noexcept;
  ~Submitter();

  // `function`: "module:name", the name with dots for what is inside a class. It is imported in
  // the worker. Throws PoolClosed, PoolBroken, std::bad_alloc (no shared memory for the arguments),
  // std::invalid_argument (no such form of a name, text that is not UTF-8, values nested deeper
  // than 500 levels). What fails in the worker, the import too, is the future's.
  template <typename... T>
  Future submit(std::string_view function, T&&... arguments) const {
    Arguments all;
    (all.add(std::forward<T>(arguments)), ...);
    return call(function, all);
  }
  Future call(std::string_view function, const Arguments& arguments) const;

 private:
  struct Terms;

  std::shared_ptr<cpp::Session> session_;
  std::shared_ptr<const Terms> terms_;
};

class OWNGIL_EXPORT Pool {
 public:
  // Returns before the workers run. Throws StartError, std::system_error, std::invalid_argument.
  explicit Pool(const PoolOptions& options = {});
  Pool(Pool&&) noexcept;
  Pool& operator=(Pool&&) noexcept;
  ~Pool();

  // As Submitter::submit.
  template <typename... T>
  Future submit(std::string_view function, T&&... arguments) const {
    return plain_.submit(function, std::forward<T>(arguments)...);
  }
  Future call(std::string_view function, const Arguments& arguments) const {
    return plain_.call(function, arguments);
  }
  Submitter options(const TaskOptions& options) const;

  // From now on so many workers; returns at once, and nothing is lost. Throws as the constructor.
  void resize(unsigned workers);
  PoolStats stats() const;
  // What the user should read and has not taken yet, as that a preloaded module left threads: each
  // text once.
  std::vector<std::string> take_warnings();

  // Accepts no more tasks, and waits until what was submitted is done and the workers are gone.
  void shutdown(const ShutdownOptions& options = {});
  // Kills the workers now, and waits until they are gone, a second at most. What they run fails
  // with WorkerDied, what no worker has begun with TaskCancelled.
  void kill();

 private:
  void end() noexcept;

  std::shared_ptr<cpp::Session> session_;
  Submitter plain_;
};

}  // namespace owngil

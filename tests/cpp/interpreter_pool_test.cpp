// SPDX-License-Identifier: BSD-3-Clause
// The face for C++ programs, with workers that are interpreters of one process.
#include "tests/cpp/test_options.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <optional>
#include <owngil/pool.hpp>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace owngil;
using namespace std::chrono_literals;

PoolOptions with_interpreters(unsigned workers) {
  PoolOptions options = owngil::testing::with_workers(workers);
  options.kind = Kind::interpreter;
  return options;
}

class InterpreterPool : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!OWNGIL_TEST_HAS_INTERPRETERS) GTEST_SKIP() << "needs CPython 3.13 or later";
  }
};

TEST_F(InterpreterPool, workers_are_interpreters_of_one_process) {
  for (const Start start : {Start::from_template, Start::spawn}) {
    PoolOptions options = with_interpreters(2);
    options.start = start;
    Pool pool(options);
    const auto pid = pool.submit("os:getpid").get<pid_t>();
    auto sleeps = pool.submit("time:sleep", 0.05);
    EXPECT_EQ(pool.submit("os:getpid").get<pid_t>(), pid);
    sleeps.wait();
    EXPECT_THROW(pool.submit("math:sqrt", -1).get(), PythonError);
    EXPECT_THROW(pool.options({.timeout = 20ms}).submit("time:sleep", 1000).get(), TaskTimeout);
    EXPECT_THROW(pool.submit("ctypes:string_at", 0).get(), WorkerDied);
    EXPECT_EQ(pool.submit("math:factorial", 5).get<int>(), 120);
  }
}

// Tasks that have begun once they have left a sign of it, and that end only with their worker.
class Endless {
 public:
  Endless() { std::filesystem::create_directory(folder_); }
  Endless(const Endless&) = delete;
  Endless& operator=(const Endless&) = delete;
  ~Endless() { std::filesystem::remove_all(folder_); }

  template <typename Target>
  Future submit(const Target& target) {
    return target.submit("builtins:exec", "import tempfile, time\ntempfile.mkstemp(dir='" +
                                              folder_.string() + "')\ntime.sleep(1000)");
  }
  // Returns once so many runs have begun; the time limit of the tests guards it.
  void wait_for_runs(std::size_t count) const {
    while (count_runs() < count) std::this_thread::yield();
  }

 private:
  [[nodiscard]] std::size_t count_runs() const {
    const std::filesystem::directory_iterator marks(folder_);
    return static_cast<std::size_t>(std::distance(begin(marks), end(marks)));
  }

  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("owngil-runs-" + std::to_string(::getpid()));
};

// What no signal ends.
constexpr const char* kWaitForALock =
    "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()";

std::string text_of(const WorkerDied& error) { return error.what(); }

TEST_F(InterpreterPool, the_neighbours_of_a_crash_are_told_that_they_died_with_it) {
  Pool pool(with_interpreters(2));
  Endless endless;
  auto neighbour = endless.submit(pool);
  endless.wait_for_runs(1);
  try {
    pool.submit("ctypes:string_at", 0).get();
    FAIL();
  } catch (const WorkerDied& error) {
    EXPECT_EQ(error.death.collateral, false);
    EXPECT_NE(text_of(error).find("What the other workers of its process ran is lost with it"),
              std::string::npos)
        << error.what();
  }
  try {
    neighbour.get();
    FAIL();
  } catch (const WorkerDied& error) {
    EXPECT_EQ(error.death.collateral, true);
    EXPECT_EQ(error.death.signal, SIGSEGV);
    EXPECT_NE(text_of(error).find("with the worker whose task ended that"), std::string::npos)
        << error.what();
    EXPECT_EQ(text_of(error).find("Only this task is lost"), std::string::npos);
  }
}

TEST_F(InterpreterPool, of_a_kill_from_outside_nobody_is_to_blame) {
  Pool pool(with_interpreters(2));
  Endless endless;
  const auto pid = pool.submit("os:getpid").get<pid_t>();
  std::vector<Future> futures;
  for (int i = 0; i != 2; ++i) futures.push_back(endless.submit(pool));
  endless.wait_for_runs(2);
  ::kill(pid, SIGKILL);
  for (Future& future : futures) {
    try {
      future.get();
      FAIL();
    } catch (const WorkerDied& error) {
      EXPECT_EQ(error.death.collateral, std::nullopt);
      EXPECT_NE(text_of(error).find("nobody can tell whose task ended it"), std::string::npos)
          << error.what();
    }
  }
}

TEST_F(InterpreterPool, what_nobody_is_to_blame_for_is_never_called_poison) {
  Pool pool(with_interpreters(2));
  Endless endless;
  auto other = endless.submit(pool.options({.retries = 5}));
  auto again = endless.submit(pool.options({.retries = 1}));
  for (std::size_t killed = 0; killed != 2; ++killed) {
    endless.wait_for_runs(2 * (killed + 1));
    ::kill(pool.stats().workers[0].pid, SIGKILL);
  }
  try {
    again.get();
    FAIL();
  } catch (const PoisonTask& error) {
    FAIL() << error.what();
  } catch (const WorkerDied& error) {
    EXPECT_EQ(error.attempts.size(), 1U);
    EXPECT_EQ(error.death.collateral, std::nullopt);
  }
  pool.kill();
}

TEST_F(InterpreterPool, a_limit_that_costs_the_whole_process_says_so) {
  Pool pool(with_interpreters(2));
  Endless endless;
  auto neighbour = endless.submit(pool);
  endless.wait_for_runs(1);
  try {
    pool.options({.timeout = 20ms}).submit("builtins:exec", kWaitForALock).get();
    FAIL();
  } catch (const TaskTimeout& error) {
    EXPECT_NE(std::string(error.what()).find("With Kind::process it would have been alone"),
              std::string::npos)
        << error.what();
  }
  try {
    neighbour.get();
    FAIL();
  } catch (const WorkerDied& error) {
    EXPECT_EQ(error.death.collateral, true);
  }
}

TEST_F(InterpreterPool, what_interpreters_do_not_do_is_a_warning) {
  ::setenv("PYTHONTRACEMALLOC", "1", 1);
  Pool pool(with_interpreters(1));
  ::unsetenv("PYTHONTRACEMALLOC");
  EXPECT_EQ(pool.submit("math:factorial", 5).get<int>(), 120);
  std::vector<std::string> warnings;
  while (warnings.empty()) warnings = pool.take_warnings();  // the time limit guards it
  EXPECT_NE(warnings[0].find("tracemalloc knows only one interpreter"), std::string::npos)
      << warnings[0];
}

}  // namespace

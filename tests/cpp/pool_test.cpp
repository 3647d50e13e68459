// SPDX-License-Identifier: BSD-3-Clause
// The face for C++ programs, with real workers.
#include "tests/cpp/python_process.hpp"
#include "tests/cpp/test_options.hpp"

#include <gtest/gtest.h>

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <owngil/pool.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace owngil;
using owngil::testing::with_workers;
using namespace std::chrono_literals;

std::size_t count_entries(const char* folder) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    static_cast<void>(entry);
    ++count;
  }
  return count;
}

// Returns once the process is gone; the time limit of the tests guards it.
void wait_until_gone(pid_t pid) {
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) return;
  pollfd gone{pidfd, POLLIN, 0};
  ::poll(&gone, 1, -1);
  ::close(pidfd);
}

TEST(Pool, a_call_gives_its_result_as_the_type_asked_for) {
  Pool pool{{.workers = 2, .python = OWNGIL_TEST_PYTHON, .package = OWNGIL_TEST_PACKAGE}};
  auto future = pool.submit("math:factorial", 20);
  EXPECT_EQ(future.get<std::int64_t>(), 2432902008176640000);
  EXPECT_FALSE(future.is_valid());
  EXPECT_EQ(pool.submit("builtins:str.upper", "abc").get<std::string>(), "ABC");
  EXPECT_EQ(pool.submit("os:getcwd").get<std::string>(), std::filesystem::current_path().string());
  EXPECT_EQ((pool.submit("builtins:sorted", std::vector{1, 3, 2}, named("reverse", true))
                 .get<std::vector<int>>()),
            (std::vector{3, 2, 1}));
}

TEST(Pool, values_come_back_as_they_went) {
  Pool pool(with_workers(1));
  const std::vector<Value> values = {{},
                                     true,
                                     -1,
                                     1.5,
                                     "text \u2603",
                                     Bytes(3, std::byte{7}),
                                     Bytes(300'000),
                                     List{1, std::pair(2, "x")},
                                     Dict{{"k", List{1.0}}, {3, {}}},
                                     std::string(200'000, 'x')};
  for (const Value& value : values) {
    EXPECT_TRUE(pool.submit("copy:copy", value).get() == value) << value.type_name();
  }
}

TEST(Pool, what_is_not_plain_travels_as_a_pickle) {
  Pool pool(with_workers(1));
  const Value third = pool.submit("fractions:Fraction", 1, 3).get();
  ASSERT_TRUE(std::holds_alternative<Pickled>(third.data()));
  EXPECT_EQ(pool.submit("builtins:str", third).get<std::string>(), "1/3");
  // One whose buffer went apart from its pickle.
  const Value array = pool.submit("array:array", "d", std::vector<double>(20'000, 0.5)).get();
  ASSERT_TRUE(std::holds_alternative<Pickled>(array.data()));
  EXPECT_EQ(pool.submit("builtins:sum", array).get<double>(), 10'000.0);
}

TEST(Pool, arrays_of_numpy_travel_as_pickles) {
  Pool pool(with_workers(1));
  try {
    pool.submit("numpy:ones", 1).get();
  } catch (const PythonError& error) {
    GTEST_SKIP() << error.what();
  }
  for (const int length : {3, 5'000, 100'000}) {
    const Value ones = pool.submit("numpy:ones", length).get();
    ASSERT_TRUE(std::holds_alternative<Pickled>(ones.data()));
    EXPECT_EQ(pool.submit("math:fsum", ones).get<double>(), length);
  }
}

TEST(Pool, an_exception_arrives_with_type_message_and_traceback) {
  Pool pool(with_workers(1));
  try {
    pool.submit("json:loads", "[").get();
    FAIL();
  } catch (const PythonError& error) {
    EXPECT_EQ(error.type, "json.decoder.JSONDecodeError");
    EXPECT_EQ(error.message, "Expecting value: line 1 column 2 (char 1)");
    EXPECT_NE(error.traceback.find("json/decoder.py"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find(error.traceback), std::string::npos);
    EXPECT_FALSE(error.pickled.empty());
  }
  try {
    pool.submit("no_such_module:f").get();
    FAIL();
  } catch (const PythonError& error) {
    EXPECT_EQ(error.type, "ModuleNotFoundError");
  }
}

TEST(Pool, wrong_arguments_are_refused_at_once) {
  Pool pool(with_workers(1));
  for (const char* const name : {"factorial", "", ":", "math:", ":f", "a:b:c", "a\n:b"}) {
    EXPECT_THROW(pool.submit(name), std::invalid_argument) << name;
  }
  EXPECT_THROW(pool.submit("builtins:len", "\xFF"), std::invalid_argument);
  EXPECT_THROW(pool.options({.timeout = -1s}), std::invalid_argument);
  EXPECT_THROW(pool.resize(0), std::invalid_argument);
}

TEST(Pool, a_task_beyond_its_limit_fails_alone) {
  Pool pool(with_workers(2));
  auto late = pool.options({.timeout = 50ms}).submit("time:sleep", 1000);
  auto other = pool.submit("math:factorial", 5);
  EXPECT_EQ(other.get<int>(), 120);
  try {
    late.get();
    FAIL();
  } catch (const TaskTimeout& error) {
    EXPECT_EQ(error.limit, 50ms);
    EXPECT_FALSE(error.of_deadline);
    EXPECT_EQ(error.facts.task_name, "time.sleep");
    ASSERT_TRUE(error.facts.ran);
    EXPECT_GE(*error.facts.ran, 50ms);
    EXPECT_NE(error.facts.pid, 0);
  }
}

TEST(Pool, a_deadline_counts_from_the_submission) {
  Pool pool(with_workers(1));
  auto endless = pool.submit("time:sleep", 1000);
  auto waiting = pool.options({.deadline = 50ms}).submit("math:factorial", 5);
  try {
    waiting.get();
    FAIL();
  } catch (const TaskTimeout& error) {
    EXPECT_TRUE(error.of_deadline);
  }
  EXPECT_TRUE(endless.kill());
}

TEST(Pool, a_wait_may_end_without_an_outcome) {
  Pool pool(with_workers(1));
  auto endless = pool.submit("time:sleep", 1000);
  EXPECT_FALSE(endless.wait_for(10ms));
  EXPECT_FALSE(endless.is_done());
  EXPECT_TRUE(endless.cancel({.running = true}));
  endless.wait();
  EXPECT_TRUE(endless.is_done());
  EXPECT_THROW(endless.get(), TaskCancelled);
}

TEST(Pool, what_has_not_begun_never_runs_once_it_is_cancelled) {
  Pool pool(with_workers(1));
  auto endless = pool.submit("time:sleep", 1000);
  while (!endless.is_running()) std::this_thread::yield();
  std::vector<Future> waiting;
  for (int i = 0; i != 5; ++i) waiting.push_back(pool.submit("os:abort"));
  EXPECT_FALSE(endless.cancel());
  for (Future& one : waiting) EXPECT_TRUE(one.cancel());
  for (Future& one : waiting) EXPECT_THROW(one.get(), TaskCancelled);
  EXPECT_TRUE(endless.cancel({.running = true, .grace = 10s}));
  EXPECT_THROW(endless.get(), TaskCancelled);
  EXPECT_EQ(pool.stats().restarts, 0U);
}

TEST(Pool, a_dead_worker_fails_its_task_and_no_other) {
  Pool pool(with_workers(2));
  auto killed = pool.submit("signal:raise_signal", SIGKILL);
  auto left = pool.submit("os:_exit", 7);
  auto crashed = pool.submit("ctypes:string_at", 0);
  std::vector<Future> others;
  for (int i = 0; i != 50; ++i) others.push_back(pool.submit("math:factorial", 5));
  try {
    killed.get();
    FAIL();
  } catch (const WorkerDied& error) {
    EXPECT_EQ(error.death.signal, SIGKILL);
    EXPECT_EQ(error.death.exit_code, std::nullopt);
    EXPECT_EQ(error.facts.task_name, "signal.raise_signal");
    EXPECT_NE(std::string(error.what()).find("SIGKILL"), std::string::npos);
  }
  try {
    left.get();
    FAIL();
  } catch (const WorkerDied& error) {
    EXPECT_EQ(error.death.exit_code, 7);
    EXPECT_EQ(error.death.signal, std::nullopt);
  }
  try {
    crashed.get();
    FAIL();
  } catch (const WorkerDied& error) {
    EXPECT_EQ(error.death.signal, SIGSEGV);
    EXPECT_NE(error.facts.stack.find("string_at"), std::string::npos);
    EXPECT_EQ(error.facts.stack.find("_template.py"), std::string::npos);
    EXPECT_EQ(error.facts.stack.find("_working.py"), std::string::npos);
  }
  for (Future& one : others) EXPECT_EQ(one.get<int>(), 120);
}

TEST(Pool, a_worker_that_is_killed_while_idle_costs_nothing) {
  Pool pool(with_workers(1));
  const auto pid = pool.submit("os:getpid").get<pid_t>();
  ::kill(pid, SIGKILL);
  EXPECT_NE(pool.submit("os:getpid").get<pid_t>(), pid);
}

TEST(Pool, a_task_that_no_worker_survives_is_given_up) {
  Pool pool(with_workers(1));
  try {
    pool.options({.retries = 2}).submit("os:_exit", 1).get();
    FAIL();
  } catch (const PoisonTask& error) {
    EXPECT_EQ(error.attempts.size(), 2U);
    EXPECT_EQ(error.death.exit_code, 1);
  }
}

TEST(Pool, a_task_runs_again_after_the_exceptions_that_were_named) {
  Pool pool(with_workers(1));
  const auto again = pool.options({.retries = 2, .retry_on = {"builtins:ValueError"}});
  try {
    again.submit("math:sqrt", -1).get();
    FAIL();
  } catch (const PythonError& error) {
    ASSERT_EQ(error.attempts.size(), 2U);
    EXPECT_TRUE(error.attempts[0].starts_with("run 1: ValueError"));
  }
  try {
    again.submit("math:sqrt", "a").get();
    FAIL();
  } catch (const PythonError& error) {
    EXPECT_EQ(error.type, "TypeError");
    EXPECT_TRUE(error.attempts.empty());
  }
}

TEST(Pool, an_initializer_that_raises_breaks_the_pool) {
  PoolOptions options = with_workers(1);
  options.initializer = "builtins:int.from_bytes";
  Pool pool(options);
  try {
    pool.submit("math:factorial", 5).get();
    FAIL();
  } catch (const PoolBroken& error) {
    ASSERT_FALSE(error.causes.empty());
    EXPECT_NE(error.causes.back().find("TypeError"), std::string::npos);
  }
}

TEST(Pool, modules_are_found_on_the_path_that_was_given) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("owngil-path-" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  std::ofstream(folder / "of_the_user.py")
      << "import os\nloaded_in = os.getpid()\ndef double(x): return 2 * x\n"
         "def shares(): return loaded_in != os.getpid()\n";
  PoolOptions options = with_workers(1);
  options.path = {folder.string()};
  options.preload = {"of_the_user"};
  {
    Pool pool(options);
    EXPECT_EQ(pool.submit("of_the_user:double", 21).get<int>(), 42);
    EXPECT_TRUE(pool.submit("of_the_user:shares").get<bool>());
    EXPECT_TRUE(pool.take_warnings().empty());
  }
  options.start = Start::spawn;
  {
    Pool pool(options);
    EXPECT_EQ(pool.submit("of_the_user:double", 21).get<int>(), 42);
    EXPECT_FALSE(pool.submit("of_the_user:shares").get<bool>());
  }
  std::filesystem::remove_all(folder);
}

TEST(Pool, a_python_that_cannot_run_workers_is_an_error_that_says_so) {
  const auto fails = [](PoolOptions options, const std::string& with) {
    try {
      const Pool pool(options);
      ADD_FAILURE() << "no error, but one with: " << with;
    } catch (const StartError& error) {
      EXPECT_NE(std::string(error.what()).find(with), std::string::npos) << error.what();
    }
  };
  PoolOptions options = with_workers(1);
  options.python = "/nowhere/python3";
  fails(options, "there is no program /nowhere/python3");
  options.python = "true";
  fails(options, "could not load the package");
  options = with_workers(1);
  options.package = "/nowhere/owngil";
  fails(options, "is not in /nowhere/owngil");
  // As a Python of another version finds it: without a _core of its own.
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("owngil-package-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder / "owngil");
  for (const char* const name : {"__init__.py", "_embedding.py", "_bootstrap.py"}) {
    std::filesystem::copy(std::filesystem::path(OWNGIL_TEST_PACKAGE) / name,
                          folder / "owngil" / name);
  }
  std::ofstream(folder / "owngil" / "_core.cpython-311-x86_64-linux-gnu.so").flush();
  options.package = (folder / "owngil").string();
  fails(options, "was built for _core.cpython-311");
  std::filesystem::remove_all(folder);
}

TEST(Pool, a_virtual_environment_is_respected) {
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("owngil-venv-" + std::to_string(::getpid()));
  const std::string code = "import sys, venv; venv.create(sys.argv[1], symlinks=True)\n";
  owngil::testing::run_python(code, folder.string());
  const auto prefix_of = [](const PoolOptions& options) {
    Pool pool(options);
    return pool.submit("builtins:eval", "__import__('sys').prefix").get<std::string>();
  };
  PoolOptions options = with_workers(1);
  options.python = (folder / "bin" / "python").string();
  EXPECT_EQ(prefix_of(options), folder.string());
  ::setenv("OWNGIL_PYTHON", options.python.c_str(), 1);
  options.python.clear();
  EXPECT_EQ(prefix_of(options), folder.string());
#ifdef OWNGIL_TEST_HOST
  ::setenv("VIRTUAL_ENV", folder.c_str(), 1);
  options.python = OWNGIL_TEST_HOST;
  EXPECT_EQ(prefix_of(options), folder.string());
#endif
  std::filesystem::remove_all(folder);
}

TEST(Pool, hosts_are_for_interpreters_alone) {
  PoolOptions options = with_workers(1);
  options.hosts = 1;
  EXPECT_THROW(Pool{options}, std::invalid_argument);
}

#ifdef OWNGIL_TEST_HOST
TEST(Pool, the_program_that_embeds_python_runs_workers) {
  for (const Start start : {Start::from_template, Start::spawn}) {
    PoolOptions options = with_workers(2);
    options.python = OWNGIL_TEST_HOST;
    options.start = start;
    Pool pool(options);
    EXPECT_EQ(pool.submit("os:readlink", "/proc/self/exe").get<std::string>(), OWNGIL_TEST_HOST);
    EXPECT_EQ(pool.submit("math:factorial", 5).get<int>(), 120);
    EXPECT_THROW(pool.submit("os:abort").get(), WorkerDied);
    EXPECT_EQ(pool.submit("math:factorial", 5).get<int>(), 120);
  }
}
#endif

TEST(Pool, many_threads_submit_wait_and_cancel) {
  Pool pool(with_workers(2));
  std::vector<std::jthread> threads;
  for (int t = 0; t != 8; ++t) {
    threads.emplace_back([&pool, t] {
      for (int i = 0; i != 100; ++i) {
        auto future = pool.submit("operator:add", t, i);
        if (i % 10 == 0 && future.cancel()) continue;
        EXPECT_EQ(future.get<int>(), t + i);
      }
    });
  }
}

TEST(Pool, workers_come_and_go_when_it_is_resized) {
  Pool pool(with_workers(1));
  pool.resize(3);
  EXPECT_EQ(pool.stats().workers.size(), 3U);
  pool.resize(1);
  EXPECT_EQ(pool.submit("math:factorial", 5).get<int>(), 120);
  EXPECT_EQ(pool.stats().workers.size(), 1U);
}

TEST(Pool, it_has_as_many_workers_as_a_pool_in_python_unless_told) {
  Pool pool(with_workers(0));
  EXPECT_EQ(pool.stats().workers.size(),
            pool.submit("owngil._cpus:usable_cpus").get<std::size_t>());
}

TEST(Pool, its_destructor_waits_for_what_was_submitted) {
  std::vector<Future> futures;
  try {
    Pool pool(with_workers(2));
    for (int i = 0; i != 20; ++i) futures.push_back(pool.submit("operator:add", i, 1));
    throw std::runtime_error("leaves the block");
  } catch (const std::runtime_error&) {
  }
  for (int i = 0; i != 20; ++i) {
    EXPECT_TRUE(futures[static_cast<std::size_t>(i)].is_done());
    EXPECT_EQ(futures[static_cast<std::size_t>(i)].get<int>(), i + 1);
  }
}

TEST(Pool, it_takes_nothing_once_it_is_shut_down) {
  Pool pool(with_workers(1));
  auto before = pool.submit("math:factorial", 5);
  pool.shutdown();
  EXPECT_EQ(before.get<int>(), 120);
  EXPECT_THROW(pool.submit("math:factorial", 5), PoolClosed);
}

TEST(Pool, a_shutdown_with_a_limit_kills_what_then_runs) {
  Pool pool(with_workers(1));
  auto endless = pool.submit("time:sleep", 1000);
  while (!endless.is_running()) std::this_thread::yield();
  pool.shutdown({.timeout = 20ms});
  EXPECT_THROW(endless.get(), WorkerDied);
}

TEST(Pool, kill_ends_it_at_once) {
  Pool pool(with_workers(1));
  auto endless = pool.submit("time:sleep", 1000);
  while (!endless.is_running()) std::this_thread::yield();
  std::vector<Future> waiting;
  for (int i = 0; i != 3; ++i) waiting.push_back(pool.submit("time:sleep", 1000));
  pool.kill();
  EXPECT_THROW(endless.get(), WorkerDied);
  for (Future& one : waiting) EXPECT_THROW(one.get(), TaskCancelled);
}

TEST(Pool, two_pools_do_not_notice_each_other) {
  Pool one(with_workers(1));
  Pool two(with_workers(1));
  const auto pid = one.submit("os:getpid").get<pid_t>();
  EXPECT_NE(two.submit("os:getpid").get<pid_t>(), pid);
  EXPECT_THROW(two.submit("os:_exit", 1).get(), WorkerDied);
  one = std::move(two);
  EXPECT_EQ(one.submit("math:factorial", 5).get<int>(), 120);
}

TEST(Pool, it_leaves_no_descriptor_no_thread_and_no_process_behind) {
  {  // a sanitizer starts a thread of its own with the first one
    const Pool first(with_workers(1));
  }
  const std::size_t files = count_entries("/proc/self/fd");
  const std::size_t threads = count_entries("/proc/self/task");
  std::vector<pid_t> workers;
  for (int round = 0; round != 3; ++round) {
    Pool pool(with_workers(2));
    workers.push_back(pool.submit("os:getpid").get<pid_t>());
    workers.push_back(pool.submit("os:getppid").get<pid_t>());  // the guardian
    EXPECT_THROW(pool.submit("os:_exit", 1).get(), WorkerDied);
  }
  EXPECT_EQ(count_entries("/proc/self/fd"), files);
  // One that was joined takes a moment to go; the time limit of the tests guards it.
  while (count_entries("/proc/self/task") > threads) std::this_thread::yield();
  for (const pid_t pid : workers) wait_until_gone(pid);
}

TEST(Pool, the_kill_of_the_program_is_the_end_of_its_workers) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const pid_t program = ::fork();
  if (program == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::execl(OWNGIL_TEST_PROGRAM, OWNGIL_TEST_PROGRAM, OWNGIL_TEST_PYTHON, OWNGIL_TEST_PACKAGE,
            static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(ends[1]);
  FILE* const told = ::fdopen(ends[0], "r");
  pid_t worker = 0;
  std::array<char, 16> ready{};
  ASSERT_EQ(std::fscanf(told, "%d %15s", &worker, ready.data()), 2);
  ::kill(program, SIGKILL);
  ::waitpid(program, nullptr, 0);
  wait_until_gone(worker);
  std::fclose(told);
}

TEST(Pool, a_child_of_fork_has_it_closed_and_may_make_its_own) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "TSan lets no child of a process with threads start some";
#endif
  Pool pool(with_workers(1));
  auto future = pool.submit("math:factorial", 5);
  const pid_t child = ::fork();
  if (child == 0) {
    int right = 0;
    try {
      pool.submit("math:factorial", 5);
    } catch (const PoolClosed&) {
      ++right;
    }
    try {
      future.get();
    } catch (const PoolClosed&) {
      ++right;
    }
    {
      const Pool moved = std::move(pool);
    }
    Pool own(with_workers(1));
    right += own.submit("math:factorial", 3).get<int>() == 6 ? 1 : 0;
    own.shutdown();
    ::_exit(right);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
  EXPECT_EQ(future.get<int>(), 120);
  EXPECT_EQ(pool.submit("math:factorial", 4).get<int>(), 24);
}

}  // namespace

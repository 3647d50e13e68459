// SPDX-License-Identifier: BSD-3-Clause
// The guardian is the real one; templates and workers are played by process_player.cpp.
#include "runtime/process_host.hpp"

#include "ipc/layout.hpp"
#include "ipc/memfd.hpp"
#include "ipc/unique_fd.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace owngil;
using runtime::LaunchSpec;
using runtime::ProcessHost;
using runtime::WorkerExit;

LaunchSpec play(const std::string& role) {
  return {{OWNGIL_PLAYER, role}, {}, OWNGIL_GUARDIAN, "configuration"};
}

ipc::UniqueFd open_pidfd(pid_t pid) {
  return ipc::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

// Returns once the process is gone; the time limit of the tests guards it.
void wait_until_gone(pid_t pid) {
  const ipc::UniqueFd pidfd = open_pidfd(pid);
  if (!pidfd) return;
  pollfd gone{pidfd.get(), POLLIN, 0};
  ::poll(&gone, 1, -1);
}

bool is_alive(pid_t pid) {
  const ipc::UniqueFd pidfd = open_pidfd(pid);
  if (!pidfd) return false;
  pollfd gone{pidfd.get(), POLLIN, 0};
  return ::poll(&gone, 1, 0) == 0;
}

std::size_t count_fds() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

pid_t read_pid(int pipe) {
  pid_t pid = -1;
  EXPECT_EQ(::read(pipe, &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
  return pid;
}

// What the host has told, key by key, and a way to wait for it.
class Heard {
 public:
  ProcessHost::Callbacks callbacks() {
    return {
        [this](std::uint64_t key, pid_t pid) { note([&] { started_[key].push_back(pid); }); },
        [this](std::uint64_t key, pid_t, const WorkerExit& exit) {
          note([&] { exited_[key].push_back(exit); });
        },
        [this](std::uint64_t key, const std::string& reason, bool) {
          note([&] { failed_[key].push_back(reason); });
        },
        [this](const std::string& text) { note([&] { notes_.push_back(text); }); },
    };
  }

  pid_t started(std::uint64_t key) { return wait_for(started_, key); }
  WorkerExit exited(std::uint64_t key) { return wait_for(exited_, key); }
  std::string failed(std::uint64_t key) { return wait_for(failed_, key); }
  std::string note() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !notes_.empty(); });
    return notes_.front();
  }
  // P1: not both, not twice.
  void expect_told_once(std::uint64_t key) {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(failed_[key].size() + exited_[key].size(), 1U);
    EXPECT_EQ(started_[key].size(), exited_[key].size());
  }
  bool has_ended(std::uint64_t key) {
    const std::lock_guard lock(mutex_);
    return !failed_[key].empty() || !exited_[key].empty();
  }

 private:
  template <class Change>
  void note(Change change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }
  template <class Value>
  Value wait_for(std::map<std::uint64_t, std::vector<Value>>& told, std::uint64_t key) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !told[key].empty(); });
    return told[key].front();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, std::vector<pid_t>> started_;
  std::map<std::uint64_t, std::vector<WorkerExit>> exited_;
  std::map<std::uint64_t, std::vector<std::string>> failed_;
  std::vector<std::string> notes_;
};

class ProcessHostTest : public testing::Test {
 protected:
  ~ProcessHostTest() override {
    host_.close();
    guard_.reset();
    thread_.join();
  }

  // The guardian tells it, maybe later than the template's first worker tells its own.
  pid_t template_pid() const {
    while (host_.template_pids().empty()) std::this_thread::yield();
    return host_.template_pids().front();
  }

  runtime::WorkerFds fds() const {
    const int fd = memory_.get();
    return {fd, fd, fd, fd, fd, fd};
  }

  std::uint64_t fork(const std::string& order, const std::string& role = "template") {
    host_.launch_from_template(play(role), ++key_, fds(), {order, {}});
    return key_;
  }
  std::uint64_t spawn(const std::string& order, const std::string& role = "worker") {
    host_.launch_by_spawn(play(role), ++key_, fds(), {order, {}});
    return key_;
  }

  // What the control thread does after a callback it has done by the next callback but one.
  void settle() {
    heard_.exited(fork("exit 3"));
    heard_.exited(fork("exit 3"));
  }

  Heard heard_;
  ipc::UniqueFd memory_ = ipc::create_memfd("test", sizeof(ipc::Channel));
  boost::asio::io_context control_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{
      control_.get_executor()};
  ProcessHost host_{control_, heard_.callbacks()};
  std::thread thread_{[this] { control_.run(); }};
  std::uint64_t key_ = 0;
};

TEST_F(ProcessHostTest, TellsTheExitCodeOfAForkedWorker) {
  const auto key = fork("exit 3");
  const WorkerExit exit = heard_.exited(key);
  EXPECT_TRUE(exit.status_known);
  EXPECT_TRUE(WIFEXITED(exit.wait_status));
  EXPECT_EQ(WEXITSTATUS(exit.wait_status), 3);
  EXPECT_GT(exit.peak_rss_bytes, 0U);
  heard_.expect_told_once(key);
}

TEST_F(ProcessHostTest, TellsTheExitCodeOfASpawnedWorker) {
  const auto key = spawn("exit 3");
  const WorkerExit exit = heard_.exited(key);
  EXPECT_TRUE(exit.status_known);
  EXPECT_EQ(WEXITSTATUS(exit.wait_status), 3);
  heard_.expect_told_once(key);
}

TEST_F(ProcessHostTest, TellsTheSignalThatEndedAWorker) {
  const WorkerExit exit = heard_.exited(fork("abort"));
  EXPECT_TRUE(WIFSIGNALED(exit.wait_status));
  EXPECT_EQ(WTERMSIG(exit.wait_status), SIGABRT);
}

TEST_F(ProcessHostTest, KillsAWorker) {
  const auto key = fork("wait");
  heard_.started(key);
  host_.kill(key);
  EXPECT_EQ(WTERMSIG(heard_.exited(key).wait_status), SIGKILL);
  heard_.expect_told_once(key);
}

TEST_F(ProcessHostTest, KillsAWorkerThatHasNotStartedYet) {
  const auto key = fork("wait");
  host_.kill(key);
  EXPECT_EQ(WTERMSIG(heard_.exited(key).wait_status), SIGKILL);
}

TEST_F(ProcessHostTest, WorkersAreTheGuardiansChildren) {
  const pid_t forked = heard_.started(fork("wait"));
  const pid_t spawned = heard_.started(spawn("wait"));
  for (const pid_t pid : {forked, spawned}) {
    std::FILE* const stat = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "r");
    ASSERT_NE(stat, nullptr);
    int parent = 0;
    EXPECT_EQ(std::fscanf(stat, "%*d %*s %*c %d", &parent), 1);
    std::fclose(stat);
    EXPECT_EQ(parent, host_.guardian_pid());
  }
}

TEST_F(ProcessHostTest, AWorkerIsInAGroupOfItsOwnThatNobodyLeadsAndInTheUsersSession) {
  const pid_t forked = heard_.started(fork("wait"));
  const pid_t spawned = heard_.started(spawn("wait"));
  const pid_t parent = template_pid();
  for (const pid_t pid : {forked, spawned, parent}) {
    EXPECT_NE(::getpgid(pid), pid);
    EXPECT_NE(::getpgid(pid), ::getpgrp());
    wait_until_gone(::getpgid(pid));  // its founder, which may not have got that far yet
    EXPECT_EQ(::getsid(pid), ::getsid(0));
  }
  EXPECT_NE(::getpgid(forked), ::getpgid(spawned));
  EXPECT_NE(::getpgid(forked), ::getpgid(parent));
  EXPECT_EQ(::getpgid(host_.guardian_pid()), ::getpgrp());
}

TEST_F(ProcessHostTest, TheDaemonOfAWorkerThatDiesIsKilledUnlessItIsToBeKept) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const ipc::UniqueFd read_end(pipe[0]);
  const ipc::UniqueFd write_end(pipe[1]);
  const auto die_and_leave_a_daemon = [&](bool kill_orphans) {
    host_.launch_from_template(
        play("template"), ++key_, fds(),
        {.pool_name = "have a daemon", .fds = {write_end.get()}, .kill_orphans = kill_orphans});
    const pid_t worker = heard_.started(key_);
    const pid_t first = read_pid(read_end.get());
    const pid_t second = read_pid(read_end.get());
    const pid_t daemon = first == worker ? second : first;
    ::kill(worker, SIGKILL);
    heard_.exited(key_);
    return daemon;
  };
  const pid_t kept = die_and_leave_a_daemon(false);
  const pid_t killed = die_and_leave_a_daemon(true);
  wait_until_gone(killed);
  EXPECT_TRUE(is_alive(kept));
  host_.close(60'000);
  wait_until_gone(kept);
}

TEST_F(ProcessHostTest, StartsManyWorkersThatWereAskedForAtOnce) {
  std::vector<std::uint64_t> keys;
  for (int i = 0; i < 100; ++i) keys.push_back(fork("exit 3"));
  for (const auto key : keys) {
    EXPECT_EQ(WEXITSTATUS(heard_.exited(key).wait_status), 3);
    heard_.expect_told_once(key);
  }
  EXPECT_EQ(host_.template_pids().size(), 1U);
}

TEST_F(ProcessHostTest, AForkedWorkerThatDiesBeforeItHasStartedHasFailed) {
  const auto key = fork("", "template of the stillborn");
  EXPECT_NE(heard_.failed(key).find("before it was ready"), std::string::npos);
  heard_.expect_told_once(key);
}

TEST_F(ProcessHostTest, ASpawnedWorkerThatDiesBeforeItHasStartedHasFailedWithItsExitCode) {
  const auto key = spawn("", "stillborn");
  EXPECT_NE(heard_.failed(key).find("exit code 7"), std::string::npos);
  heard_.expect_told_once(key);
}

TEST_F(ProcessHostTest, AProgramThatDoesNotExistFailsTheLaunchAndSaysSo) {
  LaunchSpec spec = play("worker");
  spec.argv[0] = "/nowhere/at/all";
  host_.launch_by_spawn(spec, 1, fds());
  EXPECT_NE(heard_.failed(1).find("execve /nowhere/at/all: No such file"), std::string::npos);
  host_.launch_from_template(spec, 2, fds());
  EXPECT_NE(heard_.failed(2).find("execve /nowhere/at/all: No such file"), std::string::npos);
  heard_.expect_told_once(1);
  heard_.expect_told_once(2);
}

TEST_F(ProcessHostTest, AGuardianThatDoesNotExistIsAnErrorOfTheCall) {
  LaunchSpec spec = play("template");
  spec.guardian_path = "/nowhere/at/all";
  EXPECT_THROW(host_.launch_from_template(spec, 1, fds()), std::system_error);
  EXPECT_EQ(WEXITSTATUS(heard_.exited(fork("exit 3")).wait_status), 3);
}

TEST_F(ProcessHostTest, ATemplateThatDiesFailsWhatItWasAskedForAndTheNextLaunchHasANewOne) {
  const auto living = fork("wait");
  const pid_t worker = heard_.started(living);
  const auto first = fork("wait", "template that dies");
  EXPECT_NE(heard_.failed(first).find("template process died: exit code 9"), std::string::npos);
  const auto second = fork("wait", "template that dies");
  EXPECT_NE(heard_.failed(second).find("exit code 9"), std::string::npos);
  EXPECT_TRUE(is_alive(worker));
  EXPECT_FALSE(heard_.has_ended(living));
}

TEST_F(ProcessHostTest, AKilledTemplateTakesNoWorkerWithIt) {
  const auto living = fork("wait");
  const pid_t worker = heard_.started(living);
  const pid_t killed = template_pid();
  ::kill(killed, SIGKILL);
  wait_until_gone(killed);
  for (auto key = fork("exit 3");; key = fork("exit 3")) {  // one may have reached the dead
    while (!heard_.has_ended(key)) std::this_thread::yield();
    heard_.expect_told_once(key);
    if (host_.template_pids() != std::vector<pid_t>{killed}) break;
  }
  EXPECT_TRUE(is_alive(worker));
  EXPECT_FALSE(heard_.has_ended(living));
}

TEST_F(ProcessHostTest, AKilledGuardianIsReplacedAndItsWorkersLiveOn) {
  const auto living = fork("wait");
  const pid_t worker = heard_.started(living);
  const pid_t killed = host_.guardian_pid();
  ::kill(killed, SIGKILL);
  wait_until_gone(killed);
  while (host_.guardian_pid() == killed) std::this_thread::yield();
  EXPECT_EQ(WEXITSTATUS(heard_.exited(fork("exit 3")).wait_status), 3);
  EXPECT_NE(host_.guardian_pid(), killed);
  EXPECT_TRUE(is_alive(worker));
  host_.kill(living);
  EXPECT_FALSE(heard_.exited(living).status_known);
  heard_.expect_told_once(living);
}

TEST_F(ProcessHostTest, PassesOnWhatATemplateHasToSay) {
  fork("exit 3", "template with a note");
  EXPECT_EQ(heard_.note(), "beware of the dog");
}

TEST_F(ProcessHostTest, TheUsersWaitSeesNoChildAndNoSignal) {
  static std::atomic<int> signals;
  signals = 0;
  struct sigaction action{};
  action.sa_handler = [](int) { ++signals; };
  struct sigaction before{};
  ::sigaction(SIGCHLD, &action, &before);
  heard_.exited(fork("exit 3"));
  heard_.exited(spawn("exit 3"));
  errno = 0;
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
  EXPECT_EQ(signals, 0);
  ::sigaction(SIGCHLD, &before, nullptr);
}

TEST_F(ProcessHostTest, CloseEndsEverything) {
  const pid_t forked = heard_.started(fork("wait"));
  const pid_t spawned = heard_.started(spawn("wait"));
  const pid_t guardian = host_.guardian_pid();
  const pid_t parent = template_pid();
  host_.close(60'000);
  for (const pid_t pid : {forked, spawned, parent}) EXPECT_FALSE(is_alive(pid));
  wait_until_gone(guardian);
  EXPECT_THROW(fork("wait"), std::system_error);
}

TEST_F(ProcessHostTest, AForkedChildOfTheUserHoldsNoneOfItsDescriptors) {
  const std::size_t before = count_fds();  // the host has opened none yet
  const auto key = fork("wait");
  heard_.started(key);
  settle();  // it reads files once it has told of a start
  EXPECT_GT(count_fds(), before);
  const pid_t child = ::fork();
  if (child == 0) {
    host_.forked_child();
    ::_exit(count_fds() == before ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(heard_.has_ended(key));
  EXPECT_EQ(WEXITSTATUS(heard_.exited(fork("exit 3")).wait_status), 3);
}

TEST_F(ProcessHostTest, KeepsNoDescriptorOfAWorkerThatHasEnded) {
  heard_.exited(fork("exit 3"));
  settle();
  const std::size_t before = count_fds();
  for (int i = 0; i < 5; ++i) settle();
  EXPECT_EQ(count_fds(), before);
}

TEST(ProcessHost, ClosesAllThatItOpened) {
  const std::size_t before = count_fds();
  {
    Heard heard;
    const ipc::UniqueFd memory = ipc::create_memfd("test", sizeof(ipc::Channel));
    const int fd = memory.get();
    boost::asio::io_context control;
    ProcessHost host(control, heard.callbacks());
    auto guard = boost::asio::make_work_guard(control);
    std::thread thread([&] { control.run(); });
    host.launch_from_template(play("template"), 1, {fd, fd, fd, fd, fd, fd}, {"wait", {}});
    heard.started(1);
    host.close();
    guard.reset();
    thread.join();
  }
  EXPECT_EQ(count_fds(), before);
}

// Starts a user's process of its own, in that role; `pids` become those that it says it has
// started. -1: there is no pipe.
pid_t start_user(const char* role, std::vector<pid_t>& pids) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return -1;
  const ipc::UniqueFd read_end(pipe[0]);
  ipc::UniqueFd write_end(pipe[1]);
  const pid_t user = ::fork();
  if (user == 0) {
    ::dup2(write_end.get(), STDOUT_FILENO);
    ::execl(OWNGIL_PLAYER, OWNGIL_PLAYER, role, OWNGIL_GUARDIAN, nullptr);
    ::_exit(127);
  }
  write_end.reset();
  for (int i = 0; i < 4; ++i) pids.push_back(read_pid(read_end.get()));
  return user;
}

TEST(ProcessHost, TheDeathOfTheUsersProcessAndItsGuardianAtOnceEndsTheWorkersGroup) {
  std::vector<pid_t> pids;
  const pid_t user = start_user("user of a child", pids);
  ASSERT_GT(user, 0);
  for (const pid_t pid : pids) EXPECT_TRUE(is_alive(pid));
  ::kill(pids[0], SIGKILL);  // the guardian
  wait_until_gone(pids[0]);
  ::kill(user, SIGKILL);
  ::waitpid(user, nullptr, 0);
  for (const pid_t pid : pids) wait_until_gone(pid);
}

TEST(ProcessHost, TheDeathOfTheUsersProcessEndsGuardianTemplateWorkerAndTheWorkersDaemon) {
  std::vector<pid_t> pids;
  const pid_t user = start_user("user", pids);
  ASSERT_GT(user, 0);
  for (const pid_t pid : pids) EXPECT_TRUE(is_alive(pid));
  ::kill(user, SIGKILL);
  ::waitpid(user, nullptr, 0);
  for (const pid_t pid : pids) wait_until_gone(pid);
}

}  // namespace

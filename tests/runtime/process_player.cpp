// SPDX-License-Identifier: BSD-3-Clause
// Plays the programs that a ProcessHost starts, without Python: argv[1] says which.
//
// As a worker it does what the pool's name says. As `user` it is the user's process, to be killed.
#include "ipc/fd_passing.hpp"
#include "ipc/layout.hpp"
#include "ipc/memfd.hpp"
#include "runtime/process_host.hpp"
#include "workers/process_worker.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <thread>

namespace {

using namespace owngil;

[[noreturn]] void wait_to_be_killed() {
  for (;;) ::pause();
}

void tell_pid(int pipe) {
  const pid_t pid = ::getpid();
  if (::write(pipe, &pid, sizeof pid) != sizeof pid) ::_exit(1);
}

// A child that has left session, parent and process group, as a daemon would.
void start_daemon(int pipe) {
  if (const pid_t child = ::fork(); child != 0) {
    ::waitpid(child, nullptr, 0);
    return;
  }
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  tell_pid(pipe);
  wait_to_be_killed();
}

// A child that has left nothing but its parent.
void start_child(int pipe) {
  if (::fork() != 0) return;
  tell_pid(pipe);
  wait_to_be_killed();
}

[[noreturn]] void play_worker(int socket) {
  const workers::Enlisted worker = workers::enlist(socket);
  ::close(socket);
  const std::string_view order = worker.pool_name;
  if (order == "exit 3") ::_exit(3);
  if (order == "abort") std::abort();
  if (order == "have a child") {
    start_child(worker.pool_fds.at(0));
    tell_pid(worker.pool_fds.at(0));
  }
  if (order == "have a daemon") {
    start_daemon(worker.pool_fds.at(0));
    tell_pid(worker.pool_fds.at(0));
  }
  wait_to_be_killed();
}

[[noreturn]] void play_spawned(std::string_view role) {
  if (role == "stillborn") ::_exit(7);
  workers::arm_lifelines(ipc::kStartLifeline);
  play_worker(ipc::kStartSocket);
}

void fork_worker(int socket, std::string_view role) {
  if (const pid_t child = ::fork(); child != 0) {
    ::waitpid(child, nullptr, 0);
    return;
  }
  ::setpgid(0, 0);
  if (::fork() != 0) ::_exit(0);
  ::close(ipc::kStartSocket);
  if (role == "template of the stillborn") ::_exit(7);
  workers::arm_lifelines(ipc::kStartLifeline);
  play_worker(socket);
}

[[noreturn]] void play_template(std::string_view role) {
  workers::arm_lifelines(ipc::kStartLifeline);
  if (role == "template with a note") {
    static_cast<void>(
        ipc::send_control(ipc::kStartSocket, {.verb = ipc::Verb::note}, "beware of the dog"));
  }
  for (;;) {
    ipc::ControlMessage request;
    switch (ipc::receive_control(ipc::kStartSocket, request)) {
      case ipc::Receive::nothing: {
        pollfd readable{ipc::kStartSocket, POLLIN, 0};
        ::poll(&readable, 1, -1);
        break;
      }
      case ipc::Receive::closed: std::exit(0);
      case ipc::Receive::got:
        if (role == "template that dies") ::_exit(9);
        fork_worker(request.fds.at(0).get(), role);
        break;
    }
  }
}

// Tells the pids of its guardian and template, then lets the worker tell its own and its
// daemon's or child's, all on standard output.
[[noreturn]] void play_user(const char* self, const char* guardian, const char* order) {
  boost::asio::io_context control;
  const auto guard = boost::asio::make_work_guard(control);
  std::optional<runtime::ProcessHost> host;
  const auto tell = [](pid_t pid) { static_cast<void>(!::write(STDOUT_FILENO, &pid, sizeof pid)); };
  host.emplace(control, runtime::ProcessHost::Callbacks{
                            [](std::uint64_t, pid_t) {},
                            [](std::uint64_t, pid_t, const runtime::WorkerExit&) {},
                            [](std::uint64_t, const std::string& reason, bool) {
                              std::fprintf(stderr, "%s\n", reason.c_str());
                            },
                            [](const std::string&) {}});
  std::thread thread([&] { control.run(); });
  const ipc::UniqueFd memory = ipc::create_memfd("test", sizeof(ipc::Channel));
  const int fd = memory.get();
  host->launch_from_template({{self, "template"}, {}, guardian, {}}, 1, {fd, fd, fd, fd, fd, fd},
                             {order, {STDOUT_FILENO}});
  tell(host->guardian_pid());
  while (host->template_pids().empty()) std::this_thread::yield();  // the guardian tells it
  tell(host->template_pids().front());
  wait_to_be_killed();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view role = argc > 1 ? argv[1] : "";
  if (role == "user" && argc > 2) play_user(argv[0], argv[2], "have a daemon");
  if (role == "user of a child" && argc > 2) play_user(argv[0], argv[2], "have a child");
  if (role.starts_with("template")) play_template(role);
  play_spawned(role);
}

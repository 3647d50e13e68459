// SPDX-License-Identifier: BSD-3-Clause
#include "workers/template.hpp"

#include "ipc/fd_passing.hpp"
#include "workers/fork_orphan.hpp"
#include "workers/python.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <system_error>
#include <utility>

namespace owngil::workers {
namespace {

void wait_for(pid_t child) {
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::string describe(const char* call) { return std::string(call) + ": " + std::strerror(errno); }

// In the worker, before Python knows that it was forked. Does not return if it fails.
Forked enlist_forked(ipc::UniqueFd socket, int own_lifeline, Offspring offspring) {
  try {
    ::close(ipc::kStartSocket);
    ::close(ipc::kStartConfig);
    arm_lifelines(ipc::kStartLifeline);
    ::close(own_lifeline);
    ::close(ipc::kStartLifeline);
    if (offspring == Offspring::host) {
      ::prctl(PR_SET_NAME, "owngil-host");
      return {{}, socket.release()};
    }
    return {enlist(socket.get())};
  } catch (const std::exception& error) {
    report_failure(socket.get(), error.what());
    ::_exit(EXIT_FAILURE);
  }
}

std::optional<Forked> fork_child(ipc::UniqueFd socket, int own_lifeline, Offspring offspring) {
  PyOS_BeforeFork();
  try {
    if (fork_orphan()) {
      Forked forked = enlist_forked(std::move(socket), own_lifeline, offspring);
      PyOS_AfterFork_Child();
      return forked;
    }
  } catch (const std::system_error& error) {
    report_failure(socket.get(), error.what());
  }
  PyOS_AfterFork_Parent();
  return std::nullopt;
}

// Other threads may hold any lock, so between fork and exec there are system calls only.
void spawn_child(const ipc::UniqueFd& socket, const std::vector<std::string>& argv) {
  std::vector<char*> pointers;
  for (const std::string& one : argv) pointers.push_back(const_cast<char*>(one.c_str()));
  pointers.push_back(nullptr);
  const pid_t intermediate = ::fork();
  if (intermediate == 0) {
    ::setpgid(0, 0);
    if (::fork() != 0) ::_exit(EXIT_SUCCESS);
    ::dup2(socket.get(), ipc::kStartSocket);
    ::fcntl(ipc::kStartConfig, F_SETFD, 0);
    ::fcntl(ipc::kStartLifeline, F_SETFD, 0);
    ::execve(pointers[0], pointers.data(), environ);
    ::_exit(127);
  }
  if (intermediate < 0) {
    report_failure(socket.get(), describe("fork"));
  } else {
    wait_for(intermediate);
  }
}

// Returns what poll() does.
int wait_for_request(int timeout_ms) {
  pollfd readable{ipc::kStartSocket, POLLIN, 0};
  int result = 0;
  Py_BEGIN_ALLOW_THREADS result = ::poll(&readable, 1, timeout_ms);
  Py_END_ALLOW_THREADS return result;
}

}  // namespace

Awaited await_fork(int own_lifeline, Offspring offspring,
                   const std::vector<std::string>& spawn_argv, int timeout_ms, Forked& forked) {
  for (;;) {
    ipc::ControlMessage request;
    switch (ipc::receive_control(ipc::kStartSocket, request)) {
      case ipc::Receive::closed: return Awaited::closed;
      case ipc::Receive::nothing: {
        const int ready = wait_for_request(timeout_ms);
        if (ready == 0) return Awaited::timeout;
        if (ready < 0 && PyErr_CheckSignals() != 0) return Awaited::exception;
        continue;
      }
      case ipc::Receive::got: break;
    }
    // A request without its descriptor has closed the worker's socket by that.
    if (request.header.verb != ipc::Verb::fork || request.fds.size() != 1) continue;
    if (!spawn_argv.empty()) {
      spawn_child(request.fds.front(), spawn_argv);
      continue;
    }
    auto child = fork_child(std::move(request.fds.front()), own_lifeline, offspring);
    if (child) {
      forked = std::move(*child);
      return Awaited::fork;
    }
  }
}

void send_note(std::string_view text) noexcept {
  static_cast<void>(ipc::send_control(ipc::kStartSocket, {.verb = ipc::Verb::note}, text));
}

void fork_for_nothing() noexcept {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(EXIT_SUCCESS);
  if (child > 0) wait_for(child);
}

}  // namespace owngil::workers

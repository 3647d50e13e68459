// SPDX-License-Identifier: BSD-3-Clause
#include "workers/process_worker.hpp"

#include "ipc/fd_passing.hpp"
#include "ipc/layout.hpp"
#include "ipc/worker_mark.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace owngil::workers {
namespace {

[[noreturn]] void fail(const char* call) {
  throw std::system_error(errno, std::system_category(), call);
}

ipc::ControlMessage receive_welcome(int socket) {
  for (;;) {
    ipc::ControlMessage message;
    switch (ipc::receive_control(socket, message)) {
      case ipc::Receive::nothing: {
        pollfd readable{socket, POLLIN, 0};
        if (::poll(&readable, 1, -1) < 0 && errno != EINTR) fail("poll");
        break;
      }
      case ipc::Receive::closed:
        throw std::runtime_error("the user's process has given this worker up");
      case ipc::Receive::got:
        if (message.fds_lost) {
          throw std::runtime_error("the worker has no room for its descriptors (ulimit -n)");
        }
        if (message.header.verb != ipc::Verb::welcome ||
            message.fds.size() < ipc::kWelcomeFirstOwn) {
          throw std::runtime_error("the worker got a message that is no welcome");
        }
        return message;
    }
  }
}

// The header alone; whether its build is ours is run_worker's to say.
std::uint32_t rank_of(int channel) {
  ipc::ChannelHeader header{};
  if (::pread(channel, &header, sizeof header, 0) != sizeof header) fail("pread of the channel");
  return header.rank;
}

}  // namespace

// A reader of its own, not a copy of the inherited one: owner and signal belong to the open file,
// and a template shares that with all of its workers.
ipc::UniqueFd arm_lifeline(int lifeline, LifelineOf whose) {
  const std::string path = "/proc/self/fd/" + std::to_string(lifeline);
  ipc::UniqueFd own(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!own) fail("open of the lifeline in /proc/self/fd");
  const f_owner_ex owner = whose == LifelineOf::process ? f_owner_ex{F_OWNER_PID, ::getpid()}
                                                        : f_owner_ex{F_OWNER_PGRP, ::getpgrp()};
  if (::fcntl(own.get(), F_SETOWN_EX, &owner) != 0) fail("fcntl F_SETOWN_EX");
  if (::fcntl(own.get(), F_SETSIG, SIGKILL) != 0) fail("fcntl F_SETSIG");
  if (::fcntl(own.get(), F_SETFL, O_NONBLOCK | O_ASYNC) != 0) fail("fcntl O_ASYNC");
  // The end may have closed before that; only the old reader would show it.
  pollfd closed{lifeline, 0, 0};
  if (::poll(&closed, 1, 0) == 1) ::_exit(EXIT_FAILURE);
  return own;
}

void arm_lifelines(int lifeline) {
  static_cast<void>(arm_lifeline(lifeline, LifelineOf::process).release());
  static_cast<void>(arm_lifeline(lifeline, LifelineOf::group).release());
}

Enlisted enlist(int socket, OutputOf output) {
  ipc::ControlMessage welcome = receive_welcome(socket);
  if ((welcome.header.status & ipc::kKillOrphans) != 0) {
    static_cast<void>(ipc::put_mark(ipc::WorkerMark::of(welcome.header.key, ::getpid())));
  }
  auto& fds = welcome.fds;
  if (output == OutputOf::process && (::dup2(fds[ipc::kWelcomeStdout].get(), STDOUT_FILENO) < 0 ||
                                      ::dup2(fds[ipc::kWelcomeStderr].get(), STDERR_FILENO) < 0)) {
    fail("dup2 of the output");
  }
  Enlisted enlisted{{fds[ipc::kWelcomeChannel].get(), fds[ipc::kWelcomeResults].get(),
                     fds[ipc::kWelcomeArguments].get(), fds[ipc::kWelcomeBoard].get(),
                     fds[ipc::kWelcomeCallerBell].get(), fds[ipc::kWelcomeControlBell].get()},
                    rank_of(fds[ipc::kWelcomeChannel].get()),
                    std::move(welcome.text),
                    {},
                    -1,
                    STDOUT_FILENO,
                    STDERR_FILENO};
  if ((welcome.header.status & ipc::kOutputForwarded) != 0) {
    enlisted.log = fds[ipc::kWelcomeLog].get();
    // As on a terminal; the C library would keep back what code in C prints until the end.
    static_cast<void>(::setvbuf(stdout, nullptr, _IOLBF, 0));
  } else {
    fds[ipc::kWelcomeLog].reset();
  }
  if (output == OutputOf::worker) {
    static std::once_flag first;
    std::call_once(first, [&fds] {
      static_cast<void>(::dup2(fds[ipc::kWelcomeStdout].get(), STDOUT_FILENO));
      static_cast<void>(::dup2(fds[ipc::kWelcomeStderr].get(), STDERR_FILENO));
    });
    enlisted.out = fds[ipc::kWelcomeStdout].get();
    enlisted.err = fds[ipc::kWelcomeStderr].get();
  }
  for (std::size_t i = ipc::kWelcomeFirstOwn; i < fds.size(); ++i) {
    enlisted.pool_fds.push_back(fds[i].get());
  }
  const ipc::UniqueFd self(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!self) fail("pidfd_open");
  const int pidfd = self.get();
  const ipc::ControlHeader started{
      .verb = ipc::Verb::started, .pid = ::getpid(), .key = welcome.header.key};
  const int error = ipc::send_control(socket, started, {}, {&pidfd, 1});
  if (error != 0) throw std::system_error(error, std::system_category(), "sendmsg");
  ::prctl(PR_SET_NAME, "owngil-worker");
  const std::size_t first = output == OutputOf::worker ? ipc::kWelcomeStdout : ipc::kWelcomeChannel;
  for (std::size_t i = first; i < fds.size(); ++i) {
    static_cast<void>(fds[i].release());  // they are in `enlisted`
  }
  return enlisted;
}

void report_failure(int socket, std::string_view reason) noexcept {
  static_cast<void>(ipc::send_control(socket, {.verb = ipc::Verb::failed}, reason));
}

}  // namespace owngil::workers

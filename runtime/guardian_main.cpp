// SPDX-License-Identifier: BSD-3-Clause
// The guardian: parent of every template and worker, and the one who ends them.
//
// Processes: one beside each user's process that has a pool; started by ProcessHost with
//   descriptor 3 a socket of control messages and 4 a pidfd of the user's process.
// Threads: one. All signals are blocked for good, so what the terminal sends to the group of the
//   user's process, its own too, leaves it alone.
// Lifetime: until the user's process dies, closes the socket or says `end`; then it kills all of
//   its descendants. As a subreaper it inherits also those that hid behind a double fork.
// Not: a supervisor. It starts what it is told to start, and says what died of what.
#include "ipc/fd_passing.hpp"
#include "ipc/worker_mark.hpp"
#include "runtime/command_block.hpp"
#include "runtime/guardian_descendants.hpp"
#include "runtime/guardian_orphans.hpp"
#include "runtime/guardian_stops.hpp"
#include "runtime/spawn.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <string>
#include <unordered_map>
#include <vector>

namespace owngil::runtime {
namespace {

constexpr int kControlFd = 3;
constexpr int kUserFd = 4;
constexpr std::uint64_t kKibibyte = 1024;  // the unit of ru_maxrss

// Descriptors that the user's process did not mark as to be closed on exec are not ours to keep.
void close_inherited() {
  constexpr unsigned first = kUserFd + 1;
  if (::syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  const long limit = ::sysconf(_SC_OPEN_MAX);  // before Linux 5.9
  for (int fd = first; fd < limit; ++fd) ::close(fd);
}

class Guardian {
 public:
  explicit Guardian(int signals) : signals_(signals) {}

  // Returns when nobody is left to work for.
  void run() {
    for (;;) {
      const auto wanted = [this] {
        short events = stops_.are_stopped() ? 0 : POLLIN;  // nothing starts in the meantime
        if (!unsent_.empty()) events |= POLLOUT;
        return events;
      };
      pollfd watched[] = {{kControlFd, wanted(), 0}, {kUserFd, POLLIN, 0}, {signals_, POLLIN, 0}};
      const int ready = ::poll(watched, std::size(watched), timeout_ms());
      if (ready < 0) {
        if (errno == EINTR) continue;
        return;
      }
      if (watched[1].revents != 0) return;
      if (watched[2].revents != 0) read_signals();
      if (ready == 0) {
        stops_.look();
        orphans_.look();
      }
      if ((watched[0].revents & (POLLIN | POLLHUP)) != 0 && !obey()) return;
      send_unsent();
      if (peer_gone_) return;
    }
  }

 private:
  struct Unsent {
    ipc::ControlHeader header;
    std::string text;
  };

  // False: it is time to end.
  bool obey() {
    for (;;) {
      ipc::ControlMessage order;
      switch (ipc::receive_control(kControlFd, order)) {
        case ipc::Receive::nothing: return true;
        case ipc::Receive::closed: return false;
        case ipc::Receive::got: break;
      }
      if (order.header.verb == ipc::Verb::end) return false;
      if (order.header.verb == ipc::Verb::spawn) spawn(order);
    }
  }

  void spawn(const ipc::ControlMessage& order) {
    if (order.fds_lost || order.fds.size() < ipc::kSpawnFirstOwn) {
      report_failure(order.header.key, "the guardian has no room for descriptors (ulimit -n)");
      return;
    }
    try {
      const Command command(order.fds[ipc::kSpawnCommand].get());
      std::vector<int> fds;
      for (std::size_t i = ipc::kSpawnStdout; i < order.fds.size(); ++i) {
        fds.push_back(order.fds[i].get());
      }
      const pid_t pid = spawn_child({.path = command.argv()[0],
                                     .argv = command.argv(),
                                     .env = command.env(),
                                     .fds = fds,
                                     .first = STDOUT_FILENO,
                                     .in_background = true});
      keys_[pid] = order.header.key;
      report({.verb = ipc::Verb::spawned, .pid = pid, .key = order.header.key});
    } catch (const std::exception& error) {
      report_failure(order.header.key, error.what());
    }
  }

  // -1: until something happens.
  [[nodiscard]] int timeout_ms() const {
    const int stops = stops_.timeout_ms();
    const int orphans = orphans_.timeout_ms();
    return stops < 0 || orphans < 0 ? std::max(stops, orphans) : std::min(stops, orphans);
  }

  void read_signals() {
    bool somebody_died = false;
    bool job_changed = false;
    signalfd_siginfo info;
    while (::read(signals_, &info, sizeof info) > 0) {
      (info.ssi_signo == SIGCHLD ? somebody_died : job_changed) = true;
    }
    if (somebody_died) reap();
    if (job_changed) stops_.on_signal();
  }

  void reap() {
    for (;;) {
      siginfo_t died{};
      if (::waitid(P_ALL, 0, &died, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0) break;
      if (died.si_pid == 0) break;
      reap(died.si_pid);
    }
    orphans_.look();
  }

  void reap(pid_t pid) {
    const auto mark = ipc::mark_on(pid);
    int status = 0;
    rusage usage{};
    if (::wait4(pid, &status, __WALL, &usage) != pid) return;
    std::uint64_t key = 0;
    if (const auto known = keys_.find(pid); known != keys_.end()) {
      key = known->second;
      keys_.erase(known);
    }
    report({.verb = ipc::Verb::reaped,
            .pid = pid,
            .key = key,
            .peak_rss_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * kKibibyte,
            .status = status});
    if (mark && mark->worker() == pid) orphans_.left_by(*mark);  // else it was one of those itself
  }

  void report_failure(std::uint64_t key, std::string reason) {
    report({.verb = ipc::Verb::spawn_failed, .key = key}, std::move(reason));
  }

  void report(const ipc::ControlHeader& header, std::string text = {}) {
    unsent_.push_back({header, std::move(text)});
    send_unsent();
  }

  void send_unsent() {
    while (!unsent_.empty()) {
      const int error = ipc::send_control(kControlFd, unsent_.front().header, unsent_.front().text);
      if (error == EAGAIN || error == ENOBUFS || error == ENOMEM) return;
      if (error != 0) {
        peer_gone_ = true;
        return;
      }
      unsent_.pop_front();
    }
  }

  int signals_;
  Stops stops_{kUserFd};
  Orphans orphans_;
  std::unordered_map<pid_t, std::uint64_t> keys_;
  std::deque<Unsent> unsent_;
  bool peer_gone_ = false;
};

int guard() {
  close_inherited();
  // What it starts gets 0 to 2 from it or from the request, and 3 and up from the request alone.
  for (const int fd : {kControlFd, kUserFd}) {
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return EXIT_FAILURE;
  }
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ipc::take_mark_off();  // where the user's process is itself a worker
  sigset_t awaited;
  sigemptyset(&awaited);
  for (const int number : {SIGCHLD, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT}) {
    sigaddset(&awaited, number);
  }
  const int signals = ::signalfd(-1, &awaited, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) return EXIT_FAILURE;
  try {
    Guardian(signals).run();
  } catch (const std::exception&) {
    // Without memory for its own books there is one duty left.
  }
  kill_descendants(signals);
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace owngil::runtime

int main() { return owngil::runtime::guard(); }

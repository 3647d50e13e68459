// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/spawn.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>

namespace owngil::runtime {
namespace {

constexpr std::size_t kStackBytes = 256 * 1024;
constexpr std::size_t kMaxFds = 16;

// Nothing may interrupt a thread while a child runs in its memory.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() {
    pthread_setcancelstate(cancel_before_, nullptr);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t before_;
  int cancel_before_ = 0;
};

class Stack {
 public:
  Stack()
      : base_(::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)) {
    if (base_ == MAP_FAILED) throw std::system_error(errno, std::system_category(), "mmap");
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  ~Stack() { ::munmap(base_, kStackBytes); }
  [[nodiscard]] void* top() const noexcept { return static_cast<char*>(base_) + kStackBytes; }

 private:
  void* base_;
};

// Lies in memory that all three processes share until the program runs.
struct Request {
  const char* path;
  char* const* argv;
  char* const* env;
  std::span<const int> fds;
  void* second_stack;
  pid_t pid = -1;
  int clone_error = 0;
  int exec_error = 0;
};

int run_program(void* argument) {
  auto& request = *static_cast<Request*>(argument);
  request.exec_error = become(request.path, request.argv, request.env, request.fds, 0, false);
  return 127;
}

int run_intermediate(void* argument) {
  auto& request = *static_cast<Request*>(argument);
  request.pid =
      ::clone(run_program, request.second_stack, CLONE_VM | CLONE_VFORK | SIGCHLD, argument);
  if (request.pid < 0) request.clone_error = errno;
  return 0;
}

void set_default_actions(bool ignore_interrupt) noexcept {
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action{};
    if (::sigaction(number, nullptr, &action) != 0) continue;
    const bool reset = number == SIGCHLD || number == SIGPIPE || number == SIGXFSZ;
    // A handler must not run in memory that is its parent's.
    const bool handled = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
    const bool ignore = number == SIGINT && ignore_interrupt;
    if (!reset && !handled && !ignore) continue;
    struct sigaction wanted{};
    wanted.sa_handler = ignore ? SIG_IGN : SIG_DFL;
    ::sigaction(number, &wanted, nullptr);
  }
}

}  // namespace

int become(const char* path, char* const* argv, char* const* env, std::span<const int> fds,
           int first, bool ignore_interrupt) noexcept {
  std::array<int, kMaxFds> moved{};
  if (fds.size() > moved.size()) return EINVAL;
  // First out of the way of the numbers that they are to have, then there. dup2 also clears
  // close-on-exec.
  const int above = first + static_cast<int>(fds.size());
  for (std::size_t i = 0; i < fds.size(); ++i) {
    moved[i] = ::fcntl(fds[i], F_DUPFD_CLOEXEC, above);
    if (moved[i] < 0) return errno;
  }
  for (std::size_t i = 0; i < fds.size(); ++i) {
    if (::dup2(moved[i], first + static_cast<int>(i)) < 0) return errno;
  }
  set_default_actions(ignore_interrupt);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(path, argv, env);
  return errno;
}

// The first child has no exit signal, so neither SIGCHLD nor wait() without __WCLONE tells of
// it; it leaves at once, and the second child, the program, is nobody's whom the user could
// know. (exec gives a child its SIGCHLD back, so one child would not do.)
pid_t spawn_detached(const char* path, char* const* argv, char* const* env,
                     std::span<const int> fds) {
  const Stack first_stack;
  const Stack second_stack;
  Request request{path, argv, env, fds, second_stack.top()};
  int clone_error = 0;
  {
    const SignalsBlocked blocked;
    const pid_t intermediate =
        ::clone(run_intermediate, first_stack.top(), CLONE_VM | CLONE_VFORK, &request);
    if (intermediate < 0) {
      clone_error = errno;
    } else {
      while (::waitpid(intermediate, nullptr, __WCLONE) < 0 && errno == EINTR) {
      }
    }
  }
  if (clone_error == 0) clone_error = request.clone_error;
  if (clone_error != 0) throw std::system_error(clone_error, std::system_category(), "clone");
  if (request.exec_error != 0) {
    throw std::system_error(request.exec_error, std::system_category(),
                            std::string("execve ") + path);
  }
  return request.pid;
}

}  // namespace owngil::runtime

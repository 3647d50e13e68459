// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/spawn.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <new>
#include <string>
#include <system_error>

namespace owngil::runtime {
namespace {

constexpr std::size_t kMaxFds = 16;

// The children borrow the caller's memory, so that a large one is not copied. ThreadSanitizer keeps
// its state in that memory and would take what they do for the caller's: there they have a copy.
#if defined(__SANITIZE_THREAD__)
constexpr int kBorrowMemory = CLONE_VFORK;
#else
constexpr int kBorrowMemory = CLONE_VM | CLONE_VFORK;
#endif

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

// Two stacks and what is to be done, in memory that parent and children share.
struct Desk {
  Program program;
  pid_t pid = -1;
  int clone_error = 0;
  int exec_error = 0;
};

class Shared {
 public:
  Shared()
      : base_(static_cast<char*>(
            ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    if (base_ == MAP_FAILED) throw std::system_error(errno, std::system_category(), "mmap");
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(base_, kBytes); }

  // Stacks grow downwards; the desk lies below the first.
  [[nodiscard]] void* desk() const noexcept { return base_; }
  [[nodiscard]] void* stack(std::size_t number) const noexcept {
    return base_ + (number + 1) * kStackBytes;
  }

 private:
  static constexpr std::size_t kStackBytes = std::size_t{64} * 1024;
  static constexpr std::size_t kBytes = 2 * kStackBytes;
  char* base_;
};

bool is_of_the_foreground(int number) noexcept {
  return number == SIGINT || number == SIGTTIN || number == SIGTTOU;
}

void set_default_actions(bool in_background) noexcept {
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action{};
    if (::sigaction(number, nullptr, &action) != 0) continue;
    const bool reset = number == SIGCHLD || number == SIGPIPE || number == SIGXFSZ;
    // A handler must not run in memory that is its parent's.
    const bool handled = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
    const bool ignore = in_background && is_of_the_foreground(number);
    if (!reset && !handled && !ignore) continue;
    struct sigaction wanted{};
    wanted.sa_handler = ignore ? SIG_IGN : SIG_DFL;
    ::sigaction(number, &wanted, nullptr);
  }
}

// In a child: becomes the program, or returns errno.
int become(const Program& program) noexcept {
  const auto& fds = program.fds;
  const int first = program.first;
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
  set_default_actions(program.in_background);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(program.path, program.argv, program.env);
  return errno;
}

int run_program(void* argument) {
  Desk& desk = *static_cast<Desk*>(argument);
  desk.exec_error = become(desk.program);
  return 127;
}

struct Errand {
  Desk* desk;
  void* stack;
};

void clone_program(Desk& desk, void* stack, int flags) {
  desk.pid = ::clone(run_program, stack, kBorrowMemory | flags, &desk);
  if (desk.pid < 0) desk.clone_error = errno;
}

int run_intermediate(void* argument) {
  const Errand& errand = *static_cast<Errand*>(argument);
  clone_program(*errand.desk, errand.stack, SIGCHLD);
  return 0;
}

// Founds a process group, in which it leaves the program: nobody's who leads it, the program may
// still call setsid(). The program is this process's sibling.
int run_founder(void* argument) {
  const Errand& errand = *static_cast<Errand*>(argument);
  ::setpgid(0, 0);
  clone_program(*errand.desk, errand.stack, CLONE_PARENT);
  return 0;
}

// Runs it in a child that has no exit signal, so that neither SIGCHLD nor wait() without __WCLONE
// tell of it, and that ends at once.
void run_briefly(int (*run)(void*), void* stack, Errand& errand) {
  const pid_t child = ::clone(run, stack, kBorrowMemory, &errand);
  if (child < 0) {
    errand.desk->clone_error = errno;
    return;
  }
  while (::waitpid(child, nullptr, __WCLONE) < 0 && errno == EINTR) {
  }
}

pid_t judge(const Desk& desk) {
  if (desk.clone_error != 0) {
    throw std::system_error(desk.clone_error, std::system_category(), "clone");
  }
  if (desk.exec_error != 0) {
    throw std::system_error(desk.exec_error, std::system_category(),
                            std::string("execve ") + desk.program.path);
  }
  return desk.pid;
}

}  // namespace

// The second child, the program, is nobody's whom the user could know. (exec gives a child its
// SIGCHLD back, so one child would not do.)
pid_t spawn_detached(const Program& program) {
  const Shared shared;
  Desk& desk = *new (shared.desk()) Desk{program};
  Errand errand{&desk, shared.stack(0)};
  const SignalsBlocked blocked;
  run_briefly(run_intermediate, shared.stack(1), errand);
  return judge(desk);
}

pid_t spawn_child(const Program& program) {
  const Shared shared;
  Desk& desk = *new (shared.desk()) Desk{program};
  Errand errand{&desk, shared.stack(0)};
  const SignalsBlocked blocked;
  run_briefly(run_founder, shared.stack(1), errand);
  // It has not become the program, which would have given it its exit signal.
  if (desk.exec_error != 0) ::waitpid(desk.pid, nullptr, __WALL);
  return judge(desk);
}

}  // namespace owngil::runtime

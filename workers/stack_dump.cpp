// SPDX-License-Identifier: BSD-3-Clause
#include "workers/stack_dump.hpp"

#include "ipc/stack_signal.hpp"
#include "workers/python.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <iterator>

namespace owngil::workers {
namespace {

// Those that faulthandler takes for fatal.
constexpr int kFatalSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// What a dump is made for, if not for one of them.
constexpr int kAsked = 0;
constexpr int kNone = -1;

// A signal's handler gets nothing but its number, so this is the process's.
struct {
  // set once, by prepare_stack_dumps
  void (*write_stacks)(int) = nullptr;  // faulthandler's handler of our signal
  int fd = -1;                          // that it writes to
  struct sigaction previous[std::size(kFatalSignals)] = {};
  // set by arm
  ipc::Channel* channel = nullptr;
  dev_t device = 0;
  ino_t inode = 0;
  std::atomic<pid_t> pid{0};  // of the worker; 0: not armed
  // of the handlers
  std::atomic<int> in_progress{kNone};  // the dump that is being made
} dumper;

void on_asked(int);

// Only what may be called in a signal's handler: from here to on_asked.

bool may_write() {
  // In a process that a task has forked, the channel is not even mapped.
  if (dumper.pid.load(std::memory_order_acquire) != ::getpid()) return false;  // pairs with: arm
  // The task may have closed all descriptors, and opened a file of its own since.
  struct stat status;
  if (::fstat(dumper.fd, &status) != 0 || status.st_dev != dumper.device ||
      status.st_ino != dumper.inode) {
    return false;
  }
  // faulthandler has been shut down if it has taken its handler back: by the end of the
  // interpreter, or by a fatal error of Python's own, which has written to stderr.
  struct sigaction now;
  return ::sigaction(ipc::stack_signal(), nullptr, &now) == 0 && now.sa_handler == on_asked;
}

void finish(int reason) {
  const off_t end = ::lseek(dumper.fd, 0, SEEK_CUR);
  const auto begin = static_cast<off_t>(ipc::kStackTextOffset);
  const off_t size = std::clamp<off_t>(end - begin, 0, static_cast<off_t>(ipc::kStackTextBytes));
  ipc::StackDump& dump = dumper.channel->dump;
  // relaxed, all but the last: it orders them
  const std::uint64_t task = dumper.channel->current.task.load(std::memory_order_relaxed);
  dump.task.store(task, std::memory_order_relaxed);
  dump.signal.store(static_cast<std::uint32_t>(reason), std::memory_order_relaxed);
  dump.size.store(static_cast<std::uint32_t>(size), std::memory_order_relaxed);
  const std::uint32_t number = dump.number.load(std::memory_order_relaxed) + 1;
  dump.number.store(number, std::memory_order_release);  // pairs with: SupervisorEnd::stack_dump
}

// Returns what the dump was made for, or would have been.
int dump(int reason) {
  if (!may_write()) return reason;
  int before = kNone;
  if (!dumper.in_progress.compare_exchange_strong(before, reason, std::memory_order_relaxed)) {
    // Memory is in such a state that writing it down has failed, or another thread fails, too.
    // What has been written so far is all that there will be.
    if (reason == kAsked) return reason;
    const int first = before == kAsked ? reason : before;
    finish(first);
    return first;
  }
  if (::lseek(dumper.fd, static_cast<off_t>(ipc::kStackTextOffset), SEEK_SET) >= 0) {
    dumper.write_stacks(ipc::stack_signal());
    finish(reason);
  }
  dumper.in_progress.store(kNone, std::memory_order_relaxed);
  return reason;
}

void restore_previous(int number) {
  for (std::size_t i = 0; i != std::size(kFatalSignals); ++i) {
    if (kFatalSignals[i] == number) ::sigaction(number, &dumper.previous[i], nullptr);
  }
}

void on_fatal(int number, siginfo_t* info, void*) {
  const int saved_errno = errno;
  const int first = dump(number);
  restore_previous(number);
  restore_previous(first);
  errno = saved_errno;
  // A fault happens again when the instruction does, and so whoever was there before us, a core
  // dump as well, finds the registers as they were. What was sent has to be sent again.
  if (first == number && info->si_code > 0) return;
  ::raise(first);
}

void on_asked(int) {
  const int saved_errno = errno;
  static_cast<void>(dump(kAsked));
  errno = saved_errno;
}

// Makes faulthandler ready to write to `fd`. False: an exception is set.
bool register_faulthandler(int fd) noexcept {
  const Ref module = Ref::steal(PyImport_ImportModule("faulthandler"));
  if (!module) return false;
  // It also gives this thread a stack of its own for handlers, without which the overflow of the
  // C stack would be a death without a word.
  return static_cast<bool>(
      Ref::steal(PyObject_CallMethod(module.get(), "register", "ii", ipc::stack_signal(), fd)));
}

}  // namespace

void prepare_stack_dumps() noexcept {
  if (dumper.write_stacks != nullptr) return;
  const int fd = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  struct sigaction theirs;
  if (!register_faulthandler(fd) || ::sigaction(ipc::stack_signal(), nullptr, &theirs) != 0 ||
      (theirs.sa_flags & SA_SIGINFO) != 0) {
    PyErr_Clear();
    ::close(fd);
    return;
  }
  dumper.write_stacks = theirs.sa_handler;
  dumper.fd = fd;
  struct sigaction asked{};
  asked.sa_handler = on_asked;
  asked.sa_flags = SA_RESTART | SA_ONSTACK;
  ::sigaction(ipc::stack_signal(), &asked, nullptr);
  struct sigaction fatal{};
  fatal.sa_sigaction = on_fatal;
  fatal.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;  // a dump that fails must not be the end
  for (std::size_t i = 0; i != std::size(kFatalSignals); ++i) {
    ::sigaction(kFatalSignals[i], &fatal, &dumper.previous[i]);
  }
}

ArmedStackDump::ArmedStackDump(int channel_fd, ipc::Channel& channel) noexcept {
  struct stat status;
  if (dumper.write_stacks == nullptr || ::dup3(channel_fd, dumper.fd, O_CLOEXEC) < 0 ||
      ::fstat(dumper.fd, &status) != 0) {
    return;
  }
  dumper.channel = &channel;
  dumper.device = status.st_dev;
  dumper.inode = status.st_ino;
  dumper.pid.store(::getpid(), std::memory_order_release);  // pairs with: may_write
}

ArmedStackDump::~ArmedStackDump() { dumper.pid.store(0, std::memory_order_release); }

}  // namespace owngil::workers

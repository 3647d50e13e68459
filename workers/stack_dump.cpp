// SPDX-License-Identifier: BSD-3-Clause
#include "workers/stack_dump.hpp"

#include "ipc/stack_signal.hpp"
#include "workers/python.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <ctime>
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
  int fd = -1;                          // that it writes to: a copy of the worker's, or /dev/null
  struct sigaction previous[std::size(kFatalSignals)] = {};
  // of the handlers
  std::atomic<int> in_progress{kNone};  // the dump that is being made
  dev_t device = 0;                     // of what `fd` is
  ino_t inode = 0;
  std::atomic<pid_t> asked{0};  // the thread that is writing because it was asked; 0: none
  sigjmp_buf way_out;           // for that thread
} dumper;

constexpr std::size_t kMostArmed = 64;

}  // namespace

struct ArmedStackDump::Worker {
  // written by arm before `pid`, so read by handlers behind it
  PyInterpreterState* interpreter = nullptr;
  pid_t thread = 0;
  ipc::Channel* channel = nullptr;
  int fd = -1;  // of the channel
  dev_t device = 0;
  ino_t inode = 0;
  std::atomic<pid_t> pid{0};  // of the process; 0: not armed
  // of arm
  std::atomic<bool> taken{false};
};

struct Workers {
  static inline ArmedStackDump::Worker all[kMostArmed];

  // Only what may be called in a signal's handler.

  // In a process that a task has forked, the channel is not even mapped.
  static bool is_armed(const ArmedStackDump::Worker& worker, pid_t self) {
    return worker.pid.load(std::memory_order_acquire) == self;  // pairs with: arm
  }

  // The one whose interpreter this thread is in. A thread that Python does not know is of the only
  // one there is.
  static ArmedStackDump::Worker* of_this_thread() {
    PyThreadState* const state = PyGILState_GetThisThreadState();
    PyInterpreterState* const interpreter =
        state != nullptr ? PyThreadState_GetInterpreter(state) : nullptr;
    const pid_t self = ::getpid();
    ArmedStackDump::Worker* only = nullptr;
    std::size_t armed = 0;
    for (ArmedStackDump::Worker& worker : all) {
      if (!is_armed(worker, self)) continue;
      if (worker.interpreter == interpreter) return &worker;
      only = &worker;
      ++armed;
    }
    return interpreter == nullptr && armed == 1 ? only : nullptr;
  }
};

namespace {

using Worker = ArmedStackDump::Worker;

void on_asked(int, siginfo_t*, void*);

// Only what may be called in a signal's handler: from here to on_asked.

bool is_file(int fd, dev_t device, ino_t inode) {
  struct stat status;
  return ::fstat(fd, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

bool may_write(const Worker& worker) {
  // The task may have closed all descriptors, and opened files of its own since.
  if (!is_file(worker.fd, worker.device, worker.inode) ||
      !is_file(dumper.fd, dumper.device, dumper.inode)) {
    return false;
  }
  // faulthandler has been shut down if it has taken its handler back: by the end of the
  // interpreter, or by a fatal error of Python's own, which has written to stderr.
  struct sigaction now;
  return ::sigaction(ipc::stack_signal(), nullptr, &now) == 0 && now.sa_sigaction == on_asked;
}

bool turn_to(const Worker& worker) {
  if (::dup3(worker.fd, dumper.fd, O_CLOEXEC) < 0) return false;
  dumper.device = worker.device;
  dumper.inode = worker.inode;
  return ::lseek(dumper.fd, static_cast<off_t>(ipc::kStackTextOffset), SEEK_SET) >= 0;
}

void finish(const Worker& worker, int reason) {
  const off_t end = ::lseek(dumper.fd, 0, SEEK_CUR);
  const auto begin = static_cast<off_t>(ipc::kStackTextOffset);
  const off_t size = std::clamp<off_t>(end - begin, 0, static_cast<off_t>(ipc::kStackTextBytes));
  ipc::StackDump& dump = worker.channel->dump;
  // relaxed, all but the last: it orders them
  const std::uint64_t task = worker.channel->current.task.load(std::memory_order_relaxed);
  dump.task.store(task, std::memory_order_relaxed);
  dump.signal.store(static_cast<std::uint32_t>(reason), std::memory_order_relaxed);
  dump.size.store(static_cast<std::uint32_t>(size), std::memory_order_relaxed);
  const std::uint32_t number = dump.number.load(std::memory_order_relaxed) + 1;
  dump.number.store(number, std::memory_order_release);  // pairs with: SupervisorEnd::stack_dump
}

// Others of this process may be asked at the same time, and there is one writer for all.
bool begin_asked() {
  constexpr timespec kPause{0, 100'000};
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    int before = kNone;
    if (dumper.in_progress.compare_exchange_strong(before, kAsked, std::memory_order_relaxed)) {
      return true;
    }
    ::nanosleep(&kPause, nullptr);
  }
  return false;
}

pid_t this_thread() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

// The thread may have been in the middle of what is read: an ending frame, whose code is freed. A
// fault there ends the dump and nothing else. Of the process's later ones faulthandler then writes
// nothing: it takes itself to be still at it.
void write_asked() {
  if (sigsetjmp(dumper.way_out, 1) == 0) {
    dumper.asked.store(this_thread(), std::memory_order_relaxed);  // for a handler in this thread
    dumper.write_stacks(ipc::stack_signal());
  }
  dumper.asked.store(0, std::memory_order_relaxed);
}

// Returns what the dump was made for, or would have been.
int dump(const Worker& worker, int reason) {
  if (!may_write(worker)) return reason;
  int before = kNone;
  if (reason == kAsked) {
    if (!begin_asked()) return reason;
  } else if (!dumper.in_progress.compare_exchange_strong(before, reason,
                                                         std::memory_order_relaxed)) {
    // Memory is in such a state that writing it down has failed, or another thread fails, too.
    // What has been written so far is all that there will be.
    const int first = before == kAsked ? reason : before;
    if (is_file(dumper.fd, worker.device, worker.inode)) finish(worker, first);
    return first;
  }
  if (turn_to(worker)) {
    if (reason == kAsked) {
      write_asked();
    } else {
      dumper.write_stacks(ipc::stack_signal());
    }
    finish(worker, reason);
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
  const bool is_fault = info->si_code > 0;  // not sent by anybody
  if (is_fault && dumper.asked.load(std::memory_order_relaxed) == this_thread()) {
    ::siglongjmp(dumper.way_out, 1);
  }
  const int saved_errno = errno;
  int first = number;
  if (const Worker* const worker = Workers::of_this_thread()) {
    take_blame();
    first = dump(*worker, number);
  }
  restore_previous(number);
  restore_previous(first);
  errno = saved_errno;
  // A fault happens again when the instruction does, and so whoever was there before us, a core
  // dump as well, finds the registers as they were. What was sent has to be sent again.
  if (first == number && is_fault) return;
  ::raise(first);
}

// The process was asked: whichever thread the kernel has chosen passes it on, unless it is one that
// can answer for itself.
void on_asked(int number, siginfo_t* info, void*) {
  const int saved_errno = errno;
  if (const Worker* const worker = Workers::of_this_thread()) {
    static_cast<void>(dump(*worker, kAsked));
  }
  if (info->si_code != SI_TKILL) {
    const pid_t self = ::getpid();
    const pid_t thread = this_thread();
    for (const Worker& worker : Workers::all) {
      if (!Workers::is_armed(worker, self) || worker.thread == thread) continue;
      if (&worker == Workers::of_this_thread()) continue;  // it has just written
      ::syscall(SYS_tgkill, self, worker.thread, number);
    }
  }
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
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    ::close(fd);
    return;
  }
  dumper.device = status.st_dev;
  dumper.inode = status.st_ino;
  dumper.write_stacks = theirs.sa_handler;
  dumper.fd = fd;
  struct sigaction asked{};
  asked.sa_sigaction = on_asked;
  asked.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  ::sigaction(ipc::stack_signal(), &asked, nullptr);
  struct sigaction fatal{};
  fatal.sa_sigaction = on_fatal;
  fatal.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;  // a dump that fails must not be the end
  for (std::size_t i = 0; i != std::size(kFatalSignals); ++i) {
    ::sigaction(kFatalSignals[i], &fatal, &dumper.previous[i]);
  }
}

ArmedStackDump::ArmedStackDump(int channel_fd, ipc::Channel& channel) noexcept {
  for (Worker& one : Workers::all) {
    // relaxed: handlers look at `pid`
    if (one.taken.exchange(true, std::memory_order_relaxed)) continue;
    worker_ = &one;
    break;
  }
  if (worker_ == nullptr) return;
  struct stat status{};
  if (dumper.write_stacks != nullptr) {
    worker_->fd = ::fcntl(channel_fd, F_DUPFD_CLOEXEC, 0);
    static_cast<void>(::fstat(worker_->fd, &status));
  }
  worker_->interpreter = PyInterpreterState_Get();
  worker_->thread = this_thread();
  worker_->channel = &channel;
  worker_->device = status.st_dev;
  worker_->inode = status.st_ino;
  worker_->pid.store(::getpid(), std::memory_order_release);  // pairs with: is_armed
}

ArmedStackDump::~ArmedStackDump() {
  if (worker_ == nullptr) return;
  worker_->pid.store(0, std::memory_order_release);
  if (is_file(worker_->fd, worker_->device, worker_->inode)) ::close(worker_->fd);
  worker_->fd = -1;
  worker_->taken.store(false, std::memory_order_relaxed);  // as in arm
}

void take_blame() noexcept {
  const Worker* const worker = Workers::of_this_thread();
  // relaxed: it is read when this process is dead
  if (worker != nullptr) worker->channel->current.blame.store(1, std::memory_order_relaxed);
}

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
// A child that belongs to the grandparent, and is in all else as fork() makes it.
#include "workers/fork_orphan.hpp"

#include <gtest/gtest.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <system_error>

namespace owngil::workers {
namespace {

// The caller is the subreaper; `parent` runs in a child of it, and may fork orphans.
template <class Parent>
int status_of_orphan(Parent parent) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const pid_t middle = ::fork();
  if (middle == 0) parent();
  int status = -1;
  EXPECT_EQ(::waitpid(middle, &status, 0), middle);
  EXPECT_EQ(status, 0);
  EXPECT_GT(::wait(&status), 0);  // the orphan is ours
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  return status;
}

TEST(ForkOrphan, ItsGrandparentInheritsTheChildWhileTheParentLives) {
  const pid_t self = ::getpid();
  const int status = status_of_orphan([self] {
    int lives[2];
    if (::pipe(lives) != 0) ::_exit(1);
    if (fork_orphan()) {
      while (::getppid() != self) ::sched_yield();
      ::_exit(7);
    }
    // Nothing is left for this process to wait for.
    if (::waitpid(-1, nullptr, 0) != -1 || errno != ECHILD) ::_exit(1);
    ::close(lives[1]);
    char none = 0;
    ::_exit(::read(lives[0], &none, 1) == 0 ? 0 : 1);
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(ForkOrphan, TheChildIsInAGroupOfItsOwnThatItDoesNotLead) {
  const int status = status_of_orphan([] {
    const pid_t group = ::getpgrp();
    if (fork_orphan()) {
      const bool is_so = ::getpgrp() != group && ::getpgrp() != ::getpid();
      ::_exit(is_so && ::setsid() == ::getpid() ? 7 : 1);
    }
    ::_exit(::getpgrp() == group ? 0 : 1);
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(ForkOrphan, TheParentsMemoryIsItsOwnAgain) {
  int value = 1;
  const int status = status_of_orphan([&value] {
    if (fork_orphan()) {
      value = 2;
      ::_exit(value == 2 ? 0 : 1);
    }
    ::_exit(value == 1 ? 0 : 1);
  });
  EXPECT_EQ(status, 0);
}

int prepared = 0;
int in_parent = 0;
int in_child = 0;

// Twice on the child's side where the process between is a copy, as under TSan.
TEST(ForkOrphan, RunsTheHandlersOfForkOnBothSides) {
  const int status = status_of_orphan([] {
    ::pthread_atfork([] { ++prepared; }, [] { ++in_parent; }, [] { ++in_child; });
    if (fork_orphan()) ::_exit(in_child > 0 && in_child == prepared && in_parent == 0 ? 0 : 1);
    ::_exit(prepared == 1 && in_parent == 1 && in_child == 0 ? 0 : 1);
  });
  EXPECT_EQ(status, 0);
}

TEST(ForkOrphan, TheChildKnowsOnWhichCpuItRuns) {
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
  if (CPU_COUNT(&allowed) < 2) GTEST_SKIP() << "one CPU";
  const int status = status_of_orphan([&allowed] {
    if (!fork_orphan()) ::_exit(0);
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      if (::sched_setaffinity(0, sizeof one, &one) != 0 || ::sched_getcpu() != cpu) ::_exit(1);
    }
    ::_exit(0);
  });
  EXPECT_EQ(status, 0);
}

TEST(ForkOrphan, TheChildKnowsItsOwnThread) {
  const int status = status_of_orphan([] {
    if (!fork_orphan()) ::_exit(0);
    // A mutex that checks its owner compares the thread's number, which is kept in memory.
    pthread_mutexattr_t checked;
    ::pthread_mutexattr_init(&checked);
    ::pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_t mutex;
    ::pthread_mutex_init(&mutex, &checked);
    ::pthread_mutex_lock(&mutex);
    const bool is_owner = ::pthread_mutex_lock(&mutex) == EDEADLK;
    ::_exit(is_owner && mutex.__data.__owner == ::syscall(SYS_gettid) ? 0 : 1);
  });
  EXPECT_EQ(status, 0);
}

// From now on the kernel refuses what fork() asks for; what vfork() asks for has another number.
bool forbid_clone() {
  std::array<sock_filter, 4> program = {{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{program.size(), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(ForkOrphan, SaysWhyThereIsNoChild) {
  const pid_t middle = ::fork();
  if (middle == 0) {
    if (!forbid_clone()) ::_exit(2);
    try {
      static_cast<void>(fork_orphan());
    } catch (const std::system_error& error) {
      ::_exit(error.code().value() == EAGAIN && ::waitpid(-1, nullptr, 0) == -1 ? 0 : 1);
    }
    ::_exit(1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(middle, &status, 0), middle);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2) GTEST_SKIP() << "no seccomp";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace owngil::workers

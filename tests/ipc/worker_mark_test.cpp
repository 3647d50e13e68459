// SPDX-License-Identifier: BSD-3-Clause
// Each test marks a forked child, for nobody can be sure to get rid of a mark again.
#include "ipc/worker_mark.hpp"

#include <gtest/gtest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace owngil::ipc {
namespace {

// The exit code of a child that does this.
template <class Body>
int in_child(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(WorkerMarkTest, NamesTheWorker) {
  EXPECT_EQ(WorkerMark::of(1, 4194304).worker(), 4194304 & 0x3FFFFF);
  EXPECT_EQ(WorkerMark::of(~std::uint64_t{0}, 4711).worker(), 4711);
  EXPECT_NE(WorkerMark::of(1, 4711), WorkerMark::of(2, 4711));
  EXPECT_NE(WorkerMark::of(1, 4711), WorkerMark::of(1, 4712));
}

TEST(WorkerMarkTest, NobodyHasOneByChance) { EXPECT_EQ(mark_on(::getpid()), std::nullopt); }

TEST(WorkerMarkTest, IsHandedDownThroughForkAndExec) {
  EXPECT_EQ(in_child([] {
              const WorkerMark mark = WorkerMark::of(7, ::getpid());
              if (!put_mark(mark)) return 1;
              const pid_t child = ::fork();
              if (child == 0) {
                ::setsid();
                const char* const none[] = {nullptr};
                ::execle("/bin/sleep", "sleep", "1000", nullptr, none);
                ::_exit(1);
              }
              const bool has_it = mark_on(child) == mark && mark_on(0) == mark;
              ::kill(child, SIGKILL);
              siginfo_t died{};
              ::waitid(P_PID, static_cast<id_t>(child), &died, WEXITED | WNOWAIT);
              const bool has_it_still = mark_on(child) == mark;
              ::waitpid(child, nullptr, 0);
              return has_it && has_it_still && mark_on(child) == std::nullopt ? 0 : 1;
            }),
            0);
}

TEST(WorkerMarkTest, CanBeTakenOffWhichLeavesOtherLimitsAlone) {
  EXPECT_EQ(in_child([] {
              rlimit before{};
              ::getrlimit(RLIMIT_LOCKS, &before);
              if (!put_mark(WorkerMark::of(7, ::getpid()))) return 1;
              take_mark_off();
              rlimit after{};
              ::getrlimit(RLIMIT_LOCKS, &after);
              if (mark_on(0) || after.rlim_max != before.rlim_max) return 1;
              after.rlim_cur = 1000;
              ::setrlimit(RLIMIT_LOCKS, &after);
              take_mark_off();  // that was somebody's own
              ::getrlimit(RLIMIT_LOCKS, &after);
              return after.rlim_cur == 1000 ? 0 : 1;
            }),
            0);
}

TEST(WorkerMarkTest, AHardLimitMayForbidIt) {
  EXPECT_EQ(in_child([] {
              const rlimit low{100, 100};
              ::setrlimit(RLIMIT_LOCKS, &low);
              return put_mark(WorkerMark::of(7, ::getpid())) || mark_on(0) ? 1 : 0;
            }),
            0);
}

}  // namespace
}  // namespace owngil::ipc

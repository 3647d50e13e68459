// SPDX-License-Identifier: BSD-3-Clause
// main() of every C++ test program: GoogleTest's, with a limit on the time that a test may take.
//
// A test that hangs has the stacks of its process and of all that it started written to stderr by
// hang_report.py, and fails; what it started is killed. The limit is below the one of ctest, which kills without a word.
#include <gtest/gtest.h>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>

namespace {

constexpr unsigned kLimitSeconds = 90;

constexpr char kReport[] =
    "import sys; sys.path.insert(0, sys.argv[1]); from harness import hang_report; "
    "root = int(sys.argv[2]); print(hang_report.describe(root), flush=True); "
    "hang_report.kill_family(root)";

// Only what is safe in a signal handler: all of this may have been interrupted anywhere.
void report_hang(int) {
  std::array<char, 16> pid{};
  std::to_chars(pid.data(), pid.data() + pid.size() - 1, getpid());
  const pid_t reporter = fork();
  if (reporter == 0) {
    dup2(STDERR_FILENO, STDOUT_FILENO);
    execl(OWNGIL_TEST_PYTHON, OWNGIL_TEST_PYTHON, "-c", kReport, OWNGIL_TESTS, pid.data(),
          static_cast<char*>(nullptr));
    _exit(127);
  }
  if (reporter > 0) {
    waitpid(reporter, nullptr, 0);
  }
  signal(SIGABRT, SIG_DFL);
  abort();
}

class TimeLimit : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override { alarm(kLimitSeconds); }
  void OnTestEnd(const testing::TestInfo&) override { alarm(0); }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // a debugger that is not an ancestor may look
  signal(SIGALRM, report_hang);
  testing::UnitTest::GetInstance()->listeners().Append(new TimeLimit);
  return RUN_ALL_TESTS();
}

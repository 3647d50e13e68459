// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/guardian_descendants.hpp"

#include "runtime/guardian_children.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace owngil::runtime {
namespace {

constexpr int kPassMs = 10;
constexpr int kMaxPasses = 30'000 / kPassMs;

// With it all that is still in its group: were the guardian killed now, those would be left.
void kill_with_group(pid_t child) {
  const pid_t group = ::getpgid(child);
  if (group > 0 && group != ::getpgrp()) ::kill(-group, SIGKILL);
  ::kill(child, SIGKILL);
}

void forget_signals(int child_signals) {
  signalfd_siginfo info;
  while (::read(child_signals, &info, sizeof info) > 0) {
  }
}

}  // namespace

void kill_descendants(int child_signals) {
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    for (const pid_t child : children()) kill_with_group(child);
    pid_t reaped = 0;
    do {
      reaped = ::waitpid(-1, nullptr, WNOHANG | __WALL);
    } while (reaped > 0);
    if (reaped < 0 && errno == ECHILD) return;
    pollfd died{child_signals, POLLIN, 0};
    ::poll(&died, 1, kPassMs);
    forget_signals(child_signals);
  }
}

}  // namespace owngil::runtime

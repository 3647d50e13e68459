// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/guardian_stops.hpp"

#include "runtime/guardian_children.hpp"

#include <unistd.h>

#include <csignal>

namespace owngil::runtime {
namespace {

// The user's process stops a moment after its signal, later if it has something to do before.
constexpr int kSoonMs = 10;
constexpr int kSoonLooks = 2000 / kSoonMs;
// Somebody may continue it without its group; and a worker may just have been started.
constexpr int kSeldomMs = 200;

// Of each child that is still the terminal's session, its group: what it has started is in there.
void signal_children(int to_group, int to_child) {
  for (const pid_t child : children()) {
    if (::getsid(child) != ::getsid(0)) continue;
    const pid_t group = ::getpgid(child);
    if (group > 0 && group != ::getpgrp()) ::kill(-group, to_group);
    ::kill(child, to_child);
  }
}

}  // namespace

Stops::Stops(int user_pidfd) : user_(number_in_proc(user_pidfd)) {}

void Stops::on_signal() {
  if (user_ == 0) return;
  soon_ = kSoonLooks;
  look();
}

void Stops::look() {
  if (soon_ > 0) --soon_;
  const bool is_stopped = runtime::is_stopped(user_);
  if (is_stopped != are_stopped_) soon_ = 0;
  // A worker may handle SIGTSTP, or ignore it; SIGSTOP is certain.
  if (is_stopped) signal_children(SIGTSTP, SIGSTOP);
  if (!is_stopped && are_stopped_) signal_children(SIGCONT, SIGCONT);
  are_stopped_ = is_stopped;
}

int Stops::timeout_ms() const {
  if (soon_ > 0) return kSoonMs;
  return are_stopped_ ? kSeldomMs : -1;
}

}  // namespace owngil::runtime

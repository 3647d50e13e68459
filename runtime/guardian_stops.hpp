// SPDX-License-Identifier: BSD-3-Clause
// Stops and continues the workers along with the user's process, as Ctrl-Z and `fg` do.
//
// Workers are in process groups of their own, so that a Ctrl-C is not theirs. The guardian is in
// the group of the user's process and gets the signals of the terminal, blocked, instead of them.
// Whether the user's process has stopped is its own business: the signal only says when to look.
// Threads: the only one.
// Not: for a process that was stopped alone, by `kill -STOP`: its workers go on.
#pragma once

#include <sys/types.h>

namespace owngil::runtime {

class Stops {
 public:
  explicit Stops(int user_pidfd);

  // One of those that stop a job or continue it.
  void on_signal();
  // To be called after this time (-1: there is nothing to wait for).
  void look();
  [[nodiscard]] int timeout_ms() const;

  [[nodiscard]] bool are_stopped() const { return are_stopped_; }

 private:
  pid_t user_;  // as /proc calls it; 0: nobody knows
  bool are_stopped_ = false;
  int soon_ = 0;  // looks that are still worth taking soon after the last signal
};

}  // namespace owngil::runtime

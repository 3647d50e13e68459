// SPDX-License-Identifier: BSD-3-Clause
// Kills what workers have left behind: processes that a worker started and that outlive it.
//
// They are known by the worker's mark (ipc/worker_mark.hpp). As the guardian is a subreaper, it has
// become their parent by the time at which it learns of the worker's death.
// Threads: the only one.
// Not: hasty. Helpers that end by themselves once their worker is gone, such as multiprocessing's
//   resource tracker, are given the time for it.
#pragma once

#include "ipc/worker_mark.hpp"

#include <cstdint>
#include <vector>

namespace owngil::runtime {

class Orphans {
 public:
  // The worker of this mark is dead.
  void left_by(ipc::WorkerMark worker);

  // To be called when a child has died, and after this time (-1: there is nothing to wait for).
  void look();
  [[nodiscard]] int timeout_ms() const;

 private:
  struct Estate {
    ipc::WorkerMark mark;
    std::uint64_t grace_ends_ns;
    bool is_empty = false;
  };

  std::vector<Estate> estates_;
};

}  // namespace owngil::runtime

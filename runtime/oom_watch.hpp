// SPDX-License-Identifier: BSD-3-Clause
// Finds out whether the kernel killed a process for lack of memory: nothing but a count tells.
//
// The kernel counts such kills for each memory cgroup (`oom_kill` in memory.events of version 2,
// in memory.oom_control of version 1), and for the system (/proc/vmstat), before it sends the
// signal. A count that has risen at a death by SIGKILL speaks for it; who else in the group was
// killed is not said, so it proves nothing.
// Threads: none of its own; guarded by its owner.
// Lifetime: a Group belongs to the watch, and is gone when the last process has left it.
// Not: a watcher. It reads files when a process starts and when one has been killed.
// Invariant: O1  A rise of the count is held against one death only, and only for a second, lest
//   one that was another process's be held against a death of tomorrow.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace owngil::runtime {

struct OomEvidence {
  enum class Verdict : std::uint8_t { unknown, no, likely };
  Verdict verdict = Verdict::unknown;
  bool of_system = false;  // the count is the whole system's, not its cgroup's
  std::uint64_t kills_before = 0;
  std::uint64_t kills = 0;        // now
  std::uint64_t limit_bytes = 0;  // of the cgroup; 0: none that is known. Told if likely.
};

class OomWatch {
 public:
  class Group {
    friend class OomWatch;
    std::string directory;  // its cgroup's, or that of the first above it that counts; or none
    std::string top;        // no limit lies above it
    std::string counter;    // the file with the line `oom_kill`
    std::string limit;      // name of the file with the limit
    std::uint64_t processes = 0;
    std::uint64_t accounted = 0;  // kills that are held against a death, or against nobody
    std::uint64_t read = 0;       // the count when it was read last
    std::uint64_t read_ns = 0;
  };

  // `root`: where /proc and the mount points lie, for tests that play them.
  explicit OomWatch(std::string root = {});
  OomWatch(const OomWatch&) = delete;
  OomWatch& operator=(const OomWatch&) = delete;
  ~OomWatch();

  // A process has started; nullptr: it is gone, or nothing is counted here.
  Group* enter(pid_t pid);
  // It has died by a SIGKILL that nobody here has sent. Call before leave().
  OomEvidence examine(Group& group, std::uint64_t now_ns);
  void leave(Group& group);

 private:
  struct Mount {
    std::string root;  // the part of the hierarchy that is seen there
    std::string point;
  };

  void read_mounts();
  [[nodiscard]] std::string group_of(pid_t pid) const;
  [[nodiscard]] Group locate(const std::string& path) const;

  const std::string root_;
  bool mounts_known_ = false;
  std::optional<Mount> version1_;  // the memory controller's
  std::optional<Mount> version2_;
  std::map<std::string, Group> groups_;  // by their line in /proc/PID/cgroup
};

}  // namespace owngil::runtime

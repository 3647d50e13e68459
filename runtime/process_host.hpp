// SPDX-License-Identifier: BSD-3-Clause
// The processes of one user's process: its guardian, its templates, its workers and the hosts of
// those that share one.
//
// Threads: launch_*, kill and close from any thread; the callbacks come on the control thread,
//   without any lock held, so they may call launch_* and kill.
// Lifetime: made once, by the runtime, which stops the control thread before it destroys this.
// Not: a judge. It starts, tells and kills; whether a worker is replaced is the supervisor's word.
// Invariants:
//   P1  Each launch ends in exactly one of failed(key), or started(key) and later exited(key).
//   P2  exited(key) comes after the kernel says that no thread of the worker is left; of one that
//       has ended in order while its host goes on, after the host says so.
//   P3  No call waits for another process: requests are written ahead of who will read them.
#pragma once

#include "runtime/oom_watch.hpp"

#include <boost/asio/io_context.hpp>

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace owngil::runtime {

enum class StartMethod : std::uint8_t { fork_template, spawn };

// What to start. Pools whose specs are equal share a template.
struct LaunchSpec {
  std::vector<std::string> argv;  // of a template or of a spawned worker: owngil._bootstrap
  std::vector<std::string> env;   // "NAME=value"
  std::string guardian_path;
  std::string config;  // bytes for owngil._template

  bool operator==(const LaunchSpec&) const = default;
};

// What a worker gets from its pool. Borrowed until the call returns.
struct WorkerFds {
  int channel;
  int results;
  int arguments;
  int board;
  int caller_bell;   // eventfd: wakes a thread that sleeps in result()
  int control_bell;  // eventfd: wakes the control thread
  // What it prints and logs goes here; -1: it prints where the user's process does.
  int out = -1;
  int err = -1;
  int log = -1;
};

// What a pool gives each of its workers besides. Borrowed until the call returns.
struct Welcome {
  std::string pool_name;
  std::vector<int> fds;         // what the initializer's arguments need; owngil._worker.adopt_fds
  bool forward_output = false;  // through OutputPipes
  bool kill_orphans = true;     // what a worker started ends with it; else with the user's process
};

struct WorkerExit {
  int wait_status = 0;        // as of wait(2)
  bool status_known = false;  // false: the guardian died before it could tell
  std::uint64_t peak_rss_bytes = 0;
  OomEvidence oom = {};    // was it for lack of memory?
  bool of_process = true;  // false: the worker has ended in order, its host goes on
};

class ProcessHost {
 public:
  struct Callbacks {
    // The worker's process runs; nothing of the user's has run in it yet.
    std::function<void(std::uint64_t key, pid_t pid)> started;
    std::function<void(std::uint64_t key, pid_t pid, const WorkerExit& exit)> exited;
    // There never was a worker, or it ended before it could say anything. `with_others`: its host
    // has died, and of others who lived there that is told, too.
    std::function<void(std::uint64_t key, const std::string& reason, bool with_others)> failed;
    // Something that the user should read: a warning of a template's or a worker's.
    std::function<void(const std::string& text)> note;
  };

  ProcessHost(boost::asio::io_context& control, Callbacks callbacks);
  ~ProcessHost();
  ProcessHost(const ProcessHost&) = delete;
  ProcessHost& operator=(const ProcessHost&) = delete;

  // Both start the guardian if there is none, and write the request on the calling thread.
  // `key` names the launch from now on and is never used again. std::system_error: what could
  // not be started in this process; then nothing has happened and no callback will come.
  void launch_from_template(const LaunchSpec& spec, std::uint64_t key, const WorkerFds& fds,
                            const Welcome& welcome = {});
  void launch_by_spawn(const LaunchSpec& spec, std::uint64_t key, const WorkerFds& fds,
                       const Welcome& welcome = {});

  // The same, for a worker that is to live in this host, with others. `host` is a key that names
  // the host from its first worker on; it is started with that one, and ends with its last.
  // False: it has ended, or is about to; nothing has happened, and no callback will come.
  [[nodiscard]] bool launch_in_host(const LaunchSpec& spec, StartMethod method, std::uint64_t host,
                                    std::uint64_t key, const WorkerFds& fds,
                                    const Welcome& welcome = {});
  // It will get no more workers.
  void retire_host(std::uint64_t host);

  // SIGKILL, at once or as soon as it has started; its host dies of it with all others who live
  // there. A key that has exited is ignored.
  void kill(std::uint64_t key);

  // A signal for the process of a worker that has started; else nothing happens.
  void signal(std::uint64_t key, int number) noexcept;

  // Ends guardian, templates and workers and everything that they started, and returns when
  // they are gone (at most `limit_ms`). No callback comes afterwards. Safe to call twice.
  void close(int limit_ms = 2000);

  // In the child of the user's fork(), the one thread there is: closes every descriptor and
  // touches nothing else; the object is dead. Takes no lock.
  void forked_child() noexcept;

  pid_t guardian_pid() const;                // 0: none
  std::vector<pid_t> template_pids() const;  // those that have been heard of

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace owngil::runtime

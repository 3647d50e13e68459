// SPDX-License-Identifier: BSD-3-Clause
// What all pools of one user's process share: the control thread and the processes.
//
// Threads: open_pool and take_notes from any thread; close and forked_child as they say.
// Lifetime: made with the first pool, closed when the interpreter exits. Not a singleton: whoever
//   makes it passes it on.
// Not: a pool. It only carries what happens to the pool that it concerns.
#pragma once

#include "runtime/output_pipes.hpp"
#include "runtime/process_host.hpp"
#include "runtime/supervisor.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace owngil::runtime {

// Where workers live that are not processes.
struct Hosting {
  std::uint32_t hosts = 0;     // how many processes they share; 0: each is one
  bool reuses_places = false;  // a worker that has ended may be replaced where it was
};

class Runtime {
 public:
  Runtime();  // starts the control thread, with all signals blocked. Throws std::system_error.
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // The caller owns one retain() of it. Nothing is started before Supervisor::start. `fallback`: the
  // other kind of workers, processes, that the pool has if SupervisorOptions::has_fallback.
  // `welcome.fds` are the caller's, and stay open as long as workers may be started.
  Supervisor& open_pool(const SupervisorOptions& options, LaunchSpec spec, Welcome welcome,
                        StartMethod method, const Hosting& hosting = {}, LaunchSpec fallback = {});

  // Those that have not ended, with one more retain() each.
  std::vector<Supervisor*> open_pools();

  // What the user should read: each text once.
  bool has_notes() const { return has_notes_.load(std::memory_order_relaxed); }
  std::vector<std::string> take_notes();

  // Ends every process and the control thread, and waits for the processes, at most `limit_ms`.
  // Pools that are still open are dead afterwards.
  void close(int limit_ms);

  // In the child of the user's fork(): closes descriptors; the object is dead.
  void forked_child() noexcept;

  pid_t guardian_pid() const { return host_.guardian_pid(); }
  OutputPipes& output() { return output_; }

 private:
  class Pool;

  void run_control_thread();
  Supervisor* pool_of(std::uint64_t key, bool forget);

  boost::asio::io_context control_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  OutputPipes output_;
  ProcessHost host_;
  std::atomic<std::uint64_t> last_key_{0};
  std::atomic<bool> has_notes_{false};
  // guarded by mutex_
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, Supervisor*> workers_;  // by key, while their process may live
  std::vector<std::string> notes_;
  std::unordered_set<Supervisor*> open_;
  // the one that closes
  std::thread thread_;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// What ProcessHost keeps: one guardian, some templates and hosts, and every launch until it has
// ended.
//
// Threads: everything under the mutex; descriptors are watched and given up on the control
//   thread alone, so what was watched goes to `retired_` elsewhere. Callbacks are collected under
//   the mutex and made without it.
// Lifetime: destroyed when the control thread has stopped.
// Not: trusting. What a new worker says is checked; it may have been killed in mid-sentence.
#pragma once

#include "ipc/fd_passing.hpp"
#include "runtime/control_sender.hpp"
#include "runtime/oom_watch.hpp"
#include "runtime/owned_fds.hpp"
#include "runtime/process_host.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace owngil::runtime {

class ProcessHost::State {
 public:
  State(boost::asio::io_context& control, Callbacks callbacks);

  void launch_from_template(const LaunchSpec& spec, std::uint64_t key, const WorkerFds& fds,
                            const Welcome& welcome);
  void launch_by_spawn(const LaunchSpec& spec, std::uint64_t key, const WorkerFds& fds,
                       const Welcome& welcome);
  bool launch_in_host(const LaunchSpec& spec, StartMethod method, std::uint64_t host,
                      std::uint64_t key, const WorkerFds& fds, const Welcome& welcome);
  void retire_host(std::uint64_t host);
  void kill(std::uint64_t key);
  void signal(std::uint64_t key, int number) noexcept;
  void close(int limit_ms);
  void forked_child() noexcept;
  [[nodiscard]] bool is_forked() const noexcept { return forked_.load(std::memory_order_relaxed); }
  [[nodiscard]] pid_t guardian_pid() const;
  [[nodiscard]] std::vector<pid_t> template_pids() const;

 private:
  // A descriptor that the control thread waits for; the wait is given up before it is closed.
  class Watched {
   public:
    Watched(OwnedFds& all, ipc::UniqueFd fd) : fd_(all, std::move(fd)) {}
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;
    ~Watched() { give_up(); }

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    template <class Handler>
    void wait(boost::asio::io_context& control, Handler handler) {
      if (!descriptor_) descriptor_.emplace(control, fd_.get());
      descriptor_->async_wait(boost::asio::posix::stream_descriptor::wait_read, std::move(handler));
    }

   private:
    void give_up() {
      if (descriptor_) descriptor_->release();
    }

    OwnedFd fd_;
    std::optional<boost::asio::posix::stream_descriptor> descriptor_;
  };

  // The guardian, a template or a host: somebody to send orders to.
  struct Peer {
    Peer(OwnedFds& all, ipc::UniqueFd socket)
        : watched(all, std::move(socket)), sender(watched.fd()) {}
    std::uint64_t id = 0;
    pid_t pid = 0;
    Watched watched;
    ControlSender sender;
  };

  struct Host {
    std::unique_ptr<Peer> peer;  // none: it takes nobody more
    std::shared_ptr<bool> had_workers = std::make_shared<bool>(false);  // one has started there
  };

  struct Template {
    LaunchSpec spec;
    std::uint64_t id = 0;
    std::uint64_t last_used = 0;
    std::unique_ptr<Peer> peer;  // none: it has died
    std::string death;           // of what, once that is known
  };

  enum class Phase {
    asked,    // `watched` is the socket on which the worker is to say `started`
    lost,     // it will not; somebody may yet tell why
    running,  // `watched` is its pidfd; in a host first the socket, on which it is to say `ended`
    dead,     // its status is awaited
  };

  struct Launch {
    Phase phase = Phase::asked;
    std::uint64_t template_id = 0;  // 0: spawned
    pid_t pid = 0;
    bool kill_wanted = false;
    std::uint64_t host = 0;                  // 0: it is a process
    std::shared_ptr<bool> host_had_workers;  // that host; none: it is a process
    std::unique_ptr<Watched> watched;
    std::unique_ptr<Watched> pidfd;       // while `watched` is the socket of one that runs
    std::optional<ControlSender> sender;  // of the welcome, until it has been sent
    std::optional<WorkerExit> exit;
    OomWatch::Group* memory = nullptr;  // once it has started
    std::optional<boost::asio::steady_timer> timer;
  };

  struct Event {
    enum class What { started, exited, failed, note } what;
    std::uint64_t key = 0;
    pid_t pid = 0;
    WorkerExit exit;
    std::string text;
    bool with_others = false;
  };
  using Events = std::vector<Event>;

  // The reaping of a process that nobody had heard of when it was told.
  struct Stray {
    pid_t pid;
    WorkerExit exit;
  };

  // --- any thread, under the mutex
  void require_open() const;
  void ensure_basics();
  Peer& ensure_guardian(const LaunchSpec& spec);
  Template& ensure_template(const LaunchSpec& spec);
  Template& start_template(const LaunchSpec& spec);
  ControlSender::Sent send_fork(const LaunchSpec& spec, std::uint64_t key, int socket,
                                std::uint64_t& template_id);
  Host& start_host(const LaunchSpec& spec, StartMethod method, std::uint64_t id);
  void retire_oldest_templates();
  ControlSender::Sent send_spawn(const LaunchSpec& spec, std::uint64_t key, int socket);
  void reap_guardian() const;
  void drop_guardian();
  void drop_template(Template& one);
  void retire(std::unique_ptr<Peer> peer);
  void after_send(ControlSender::Sent sent);
  [[nodiscard]] std::unique_ptr<Launch> prepare_launch(std::uint64_t key, ipc::UniqueFd socket,
                                                       const WorkerFds& fds,
                                                       const Welcome& welcome);
  void add_launch(std::uint64_t key, std::unique_ptr<Launch> launch);
  [[nodiscard]] int present(int fd) const;
  Template* find_template(std::uint64_t id);
  static void signal_by(const Launch& launch, int number);

  // --- control thread
  template <class Step>
  void on_control(Step step);  // locks, takes the step, then makes the callbacks
  void emit(Events& events) const;
  void watch_guardian();
  void watch_template(std::uint64_t id);
  void watch_launch(std::uint64_t key);
  void read_guardian(Events& events);
  void read_template(std::uint64_t id, Events& events);
  void watch_host(std::uint64_t id);
  void read_host(std::uint64_t id);
  void read_end(std::uint64_t key, Events& events);
  void read_report(std::uint64_t key, Events& events);
  void on_reaped(const ipc::ControlHeader& header, Events& events);
  void on_spawn_failed(const ipc::ControlMessage& message, Events& events);
  void on_started(std::uint64_t key, Launch& launch, ipc::ControlMessage& message, Events& events);
  void on_lost(std::uint64_t key, Launch& launch, Events& events);
  void on_pidfd(std::uint64_t key, Events& events);
  void await_word(std::uint64_t key, Launch& launch);
  void on_silence(std::uint64_t key, Events& events);
  void end_waits_for_words(Events& events);
  void finish(std::uint64_t key, Events& events);
  OomEvidence oom_evidence(const Launch& launch);
  void fail(std::uint64_t key, std::string reason, Events& events);
  void fail_lost_of(const Template& one, Events& events);
  void flush_later();
  void flush();

  boost::asio::io_context& control_;
  const Callbacks callbacks_;
  std::atomic<bool> forked_{false};

  mutable std::mutex mutex_;
  // guarded by the mutex
  bool closed_ = false;
  OwnedFds fds_;  // before everything that holds an OwnedFd
  OwnedFd dev_null_;
  OwnedFd lifeline_read_;
  OwnedFd lifeline_write_;
  std::uint64_t last_id_ = 0;
  std::unique_ptr<Peer> guardian_;
  std::list<Template> templates_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Launch>> launches_;
  std::unordered_map<std::uint64_t, Host> hosts_;
  std::unordered_multimap<pid_t, std::uint64_t> running_;  // keys of the workers that have started
  OomWatch oom_watch_;
  std::deque<Stray> strays_;
  std::vector<std::unique_ptr<Peer>> retired_;  // awaiting the control thread
  boost::asio::steady_timer flush_timer_;
  bool flush_pending_ = false;
};

}  // namespace owngil::runtime

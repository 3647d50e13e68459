// SPDX-License-Identifier: BSD-3-Clause
// ProcessHost on its callers' threads: launch, kill, close, and what has to be there first.
#include "runtime/command_block.hpp"
#include "runtime/process_host_state.hpp"
#include "runtime/spawn.hpp"

#include <boost/asio/post.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <system_error>
#include <utility>

namespace owngil::runtime {
namespace {

// Ids of templates, apart from the keys of workers.
constexpr std::uint64_t kTemplateId = std::uint64_t{1} << 63;
// Programs whose pools differ in what they preload keep this many templates warm.
constexpr std::size_t kMaxTemplates = 4;

[[noreturn]] void fail_call(const char* call) {
  throw std::system_error(errno, std::system_category(), call);
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (const std::string& one : strings) result.push_back(const_cast<char*>(one.c_str()));
  result.push_back(nullptr);
  return result;
}

}  // namespace

ProcessHost::State::State(boost::asio::io_context& control, Callbacks callbacks)
    : control_(control), callbacks_(std::move(callbacks)), flush_timer_(control) {}

// --- launch

void ProcessHost::State::launch_from_template(const LaunchSpec& spec, std::uint64_t key,
                                              const WorkerFds& fds, const Welcome& welcome) {
  const std::lock_guard lock(mutex_);
  require_open();
  ensure_basics();
  ipc::SocketPair sockets = ipc::create_socket_pair();
  auto launch = prepare_launch(key, std::move(sockets.ours), fds, welcome);
  after_send(send_fork(spec, key, sockets.theirs.get(), launch->template_id));
  add_launch(key, std::move(launch));
}

// Asks the template of this spec, which is started if there is none.
ControlSender::Sent ProcessHost::State::send_fork(const LaunchSpec& spec, std::uint64_t key,
                                                  int socket, std::uint64_t& template_id) {
  for (int attempt = 0;; ++attempt) {
    Template& chosen = ensure_template(spec);
    const auto sent = chosen.peer->sender.send({.verb = ipc::Verb::fork, .key = key}, {&socket, 1});
    if (sent == ControlSender::Sent::peer_gone && attempt == 0) {
      drop_template(chosen);
      continue;
    }
    template_id = chosen.id;
    return sent;
  }
}

void ProcessHost::State::launch_by_spawn(const LaunchSpec& spec, std::uint64_t key,
                                         const WorkerFds& fds, const Welcome& welcome) {
  const std::lock_guard lock(mutex_);
  require_open();
  ensure_basics();
  ipc::SocketPair sockets = ipc::create_socket_pair();
  auto launch = prepare_launch(key, std::move(sockets.ours), fds, welcome);
  after_send(send_spawn(spec, key, sockets.theirs.get()));
  add_launch(key, std::move(launch));
}

// A request to a host that ends before it reads it closes the worker's socket by that.
bool ProcessHost::State::launch_in_host(const LaunchSpec& spec, StartMethod method,
                                        std::uint64_t host, std::uint64_t key, const WorkerFds& fds,
                                        const Welcome& welcome) {
  const std::lock_guard lock(mutex_);
  require_open();
  ensure_basics();
  const auto found = hosts_.find(host);
  if (found != hosts_.end() && !found->second.peer) return false;
  Host& home = found != hosts_.end() ? found->second : start_host(spec, method, host);
  ipc::SocketPair sockets = ipc::create_socket_pair();
  const int worker_socket[] = {sockets.theirs.get()};
  const auto sent = home.peer->sender.send({.verb = ipc::Verb::fork, .key = key}, worker_socket);
  if (sent == ControlSender::Sent::peer_gone) {
    retire(std::move(home.peer));
    return false;
  }
  after_send(sent);
  auto launch = prepare_launch(key, std::move(sockets.ours), fds, welcome);
  launch->host = host;
  launch->host_had_workers = home.had_workers;
  add_launch(key, std::move(launch));
  return true;
}

ProcessHost::State::Host& ProcessHost::State::start_host(const LaunchSpec& spec, StartMethod method,
                                                         std::uint64_t id) {
  ipc::SocketPair sockets = ipc::create_socket_pair();
  auto peer = std::make_unique<Peer>(fds_, std::move(sockets.ours));
  peer->id = id;
  std::uint64_t template_id = 0;
  after_send(method == StartMethod::fork_template
                 ? send_fork(spec, id, sockets.theirs.get(), template_id)
                 : send_spawn(spec, id, sockets.theirs.get()));
  boost::asio::post(control_, [this, id] {
    const std::lock_guard lock(mutex_);
    if (!closed_) watch_host(id);
  });
  Host& host = hosts_[id];
  host.peer = std::move(peer);
  return host;
}

void ProcessHost::State::retire_host(std::uint64_t host) {
  const std::lock_guard lock(mutex_);
  const auto found = hosts_.find(host);
  if (found == hosts_.end()) return;
  retire(std::move(found->second.peer));
  hosts_.erase(found);
}

// The welcome waits in the worker's socket for a worker to read it.
std::unique_ptr<ProcessHost::State::Launch> ProcessHost::State::prepare_launch(
    std::uint64_t key, ipc::UniqueFd socket, const WorkerFds& fds, const Welcome& welcome) {
  auto launch = std::make_unique<Launch>();
  launch->watched = std::make_unique<Watched>(fds_, std::move(socket));
  launch->sender.emplace(launch->watched->fd());
  const bool forwards = fds.log >= 0;
  std::vector<int> sent = {forwards ? fds.out : present(STDOUT_FILENO),
                           forwards ? fds.err : present(STDERR_FILENO),
                           fds.channel,
                           fds.results,
                           fds.arguments,
                           fds.board,
                           fds.caller_bell,
                           fds.control_bell,
                           forwards ? fds.log : dev_null_.get()};
  sent.insert(sent.end(), welcome.fds.begin(), welcome.fds.end());
  const ipc::ControlHeader header{.verb = ipc::Verb::welcome,
                                  .key = key,
                                  .status = (forwards ? ipc::kOutputForwarded : 0) |
                                            (welcome.kill_orphans ? ipc::kKillOrphans : 0)};
  const auto outcome = launch->sender->send(header, sent, welcome.pool_name);
  if (outcome != ControlSender::Sent::kept) launch->sender.reset();
  after_send(outcome);
  return launch;
}

void ProcessHost::State::add_launch(std::uint64_t key, std::unique_ptr<Launch> launch) {
  launches_.emplace(key, std::move(launch));
  boost::asio::post(control_, [this, key] {
    const std::lock_guard lock(mutex_);
    if (!closed_) watch_launch(key);
  });
}

// What the program finds as 3, 4 and 5: its socket, its configuration, the lifeline.
ControlSender::Sent ProcessHost::State::send_spawn(const LaunchSpec& spec, std::uint64_t key,
                                                   int socket) {
  const ipc::UniqueFd command = write_block("owngil-command", encode_command(spec.argv, spec.env));
  const ipc::UniqueFd config = write_block("owngil-config", spec.config);
  const int sent[] = {command.get(), present(STDOUT_FILENO), present(STDERR_FILENO),
                      socket,        config.get(),           lifeline_read_.get()};
  for (int attempt = 0;; ++attempt) {
    Peer& guardian = ensure_guardian(spec);
    const auto outcome = guardian.sender.send({.verb = ipc::Verb::spawn, .key = key}, sent);
    if (outcome != ControlSender::Sent::peer_gone || attempt != 0) return outcome;
    drop_guardian();
  }
}

// A peer that is gone even at the second attempt closes the worker's socket by its death, and
// the launch fails as any other.
void ProcessHost::State::after_send(ControlSender::Sent sent) {
  if (sent != ControlSender::Sent::kept || flush_pending_) return;
  flush_pending_ = true;
  boost::asio::post(control_, [this] { flush_later(); });
}

// --- what has to be there first

void ProcessHost::State::require_open() const {
  if (closed_ || is_forked()) {
    throw std::system_error(ESHUTDOWN, std::system_category(), "launch after close");
  }
}

int ProcessHost::State::present(int fd) const {
  return ::fcntl(fd, F_GETFD) >= 0 ? fd : dev_null_.get();
}

void ProcessHost::State::ensure_basics() {
  if (!dev_null_) {
    ipc::UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null) fail_call("open /dev/null");
    dev_null_ = OwnedFd(fds_, std::move(null));
  }
  if (!lifeline_read_) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail_call("pipe2");
    ipc::UniqueFd read_end(ends[0]);
    ipc::UniqueFd write_end(ends[1]);
    lifeline_read_ = OwnedFd(fds_, std::move(read_end));
    lifeline_write_ = OwnedFd(fds_, std::move(write_end));
  }
}

ProcessHost::State::Peer& ProcessHost::State::ensure_guardian(const LaunchSpec& spec) {
  if (guardian_) return *guardian_;
  const ipc::UniqueFd user(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!user) fail_call("pidfd_open (Linux 5.4 or later)");
  ipc::SocketPair sockets = ipc::create_socket_pair();
  const int null = dev_null_.get();
  const int fds[] = {null, null, null, sockets.theirs.get(), user.get()};
  std::string name = "owngil-guardian";
  char* const argv[] = {name.data(), nullptr};
  auto guardian = std::make_unique<Peer>(fds_, std::move(sockets.ours));
  guardian->id = ++last_id_;
  guardian->pid = spawn_detached({.path = spec.guardian_path.c_str(),
                                  .argv = argv,
                                  .env = pointers(spec.env).data(),
                                  .fds = fds});
  guardian_ = std::move(guardian);
  boost::asio::post(control_, [this] {
    const std::lock_guard lock(mutex_);
    if (!closed_) watch_guardian();
  });
  return *guardian_;
}

ProcessHost::State::Template& ProcessHost::State::ensure_template(const LaunchSpec& spec) {
  for (Template& one : templates_) {
    if (one.peer && one.spec == spec) {
      one.last_used = ++last_id_;
      return one;
    }
  }
  return start_template(spec);
}

ProcessHost::State::Template& ProcessHost::State::start_template(const LaunchSpec& spec) {
  const std::uint64_t id = kTemplateId | ++last_id_;
  ipc::SocketPair sockets = ipc::create_socket_pair();
  auto peer = std::make_unique<Peer>(fds_, std::move(sockets.ours));
  peer->id = id;
  after_send(send_spawn(spec, id, sockets.theirs.get()));
  retire_oldest_templates();
  templates_.push_back({spec, id, ++last_id_, std::move(peer), {}});
  boost::asio::post(control_, [this, id] {
    const std::lock_guard lock(mutex_);
    if (!closed_) watch_template(id);
  });
  return templates_.back();
}

// The dead stay for as long as a launch may want to know what they died of.
void ProcessHost::State::retire_oldest_templates() {
  const auto is_wanted = [this](const Template& one) {
    return std::any_of(launches_.begin(), launches_.end(), [&one](const auto& entry) {
      const Launch& launch = *entry.second;
      return launch.template_id == one.id &&
             (launch.phase == Phase::asked || launch.phase == Phase::lost);
    });
  };
  templates_.remove_if([&](const Template& one) { return !one.peer && !is_wanted(one); });
  while (templates_.size() >= kMaxTemplates) {
    auto oldest = templates_.end();
    for (auto one = templates_.begin(); one != templates_.end(); ++one) {
      if (is_wanted(*one)) continue;
      if (oldest == templates_.end() || one->last_used < oldest->last_used) oldest = one;
    }
    if (oldest == templates_.end()) return;
    drop_template(*oldest);
    templates_.erase(oldest);
  }
}

// --- letting go

// The guardian is a child of this process only where this process is init, in a container.
void ProcessHost::State::reap_guardian() const {
  if (guardian_) ::waitpid(guardian_->pid, nullptr, WNOHANG);
}

// Templates of a guardian that has died would fork workers that nobody reaps.
void ProcessHost::State::drop_guardian() {
  reap_guardian();
  retire(std::move(guardian_));
  for (Template& one : templates_) drop_template(one);
}

void ProcessHost::State::drop_template(Template& one) { retire(std::move(one.peer)); }

void ProcessHost::State::retire(std::unique_ptr<Peer> peer) {
  if (!peer) return;
  retired_.push_back(std::move(peer));
  boost::asio::post(control_, [this] {
    const std::lock_guard lock(mutex_);
    retired_.clear();
  });
}

ProcessHost::State::Template* ProcessHost::State::find_template(std::uint64_t id) {
  const auto found = std::find_if(templates_.begin(), templates_.end(),
                                  [id](const Template& one) { return one.id == id; });
  return found == templates_.end() ? nullptr : &*found;
}

void ProcessHost::State::signal_by(const Launch& launch, int number) {
  const int pidfd = (launch.pidfd ? launch.pidfd : launch.watched)->fd();
  static_cast<void>(::syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, 0));
}

void ProcessHost::State::kill(std::uint64_t key) {
  const std::lock_guard lock(mutex_);
  if (closed_ || is_forked()) return;
  const auto found = launches_.find(key);
  if (found == launches_.end()) return;
  found->second->kill_wanted = true;
  if (found->second->phase == Phase::running) signal_by(*found->second, SIGKILL);
}

void ProcessHost::State::signal(std::uint64_t key, int number) noexcept {
  const std::lock_guard lock(mutex_);
  if (closed_ || is_forked()) return;
  const auto found = launches_.find(key);
  if (found == launches_.end() || found->second->phase != Phase::running) return;
  signal_by(*found->second, number);
}

void ProcessHost::State::close(int limit_ms) {
  if (is_forked()) return;
  int guardian = -1;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    lifeline_write_.reset();  // the kernel kills templates and workers, even without a guardian
    if (guardian_) {
      guardian = guardian_->watched.fd();  // stays open: nobody drops it once closed_ is set
      static_cast<void>(ipc::send_control(guardian, {.verb = ipc::Verb::end}));
    }
  }
  if (guardian >= 0) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
    for (;;) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      pollfd gone{guardian, 0, 0};  // it closes its end by its own end: POLLHUP
      if (left.count() <= 0 || ::poll(&gone, 1, static_cast<int>(left.count())) >= 0) break;
      if (errno != EINTR) break;
    }
  }
  boost::asio::post(control_, [this] {
    const std::lock_guard lock(mutex_);
    reap_guardian();
    guardian_.reset();
    templates_.clear();
    hosts_.clear();
    launches_.clear();
    running_.clear();
    retired_.clear();
    flush_timer_.cancel();
  });
}

void ProcessHost::State::forked_child() noexcept {
  forked_.store(true, std::memory_order_relaxed);  // one thread; nobody else to be seen by
  fds_.close_all();
}

pid_t ProcessHost::State::guardian_pid() const {
  const std::lock_guard lock(mutex_);
  return guardian_ ? guardian_->pid : 0;
}

std::vector<pid_t> ProcessHost::State::template_pids() const {
  const std::lock_guard lock(mutex_);
  std::vector<pid_t> pids;
  for (const Template& one : templates_) {
    if (one.peer && one.peer->pid > 0) pids.push_back(one.peer->pid);
  }
  return pids;
}

}  // namespace owngil::runtime

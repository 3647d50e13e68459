// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/runtime.hpp"

#include "runtime/host_plan.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <system_error>
#include <utility>

namespace owngil::runtime {

namespace asio = boost::asio;

// One pool's way to the processes and to the control thread. Owned by its supervisor; what runs
// on the control thread holds the supervisor, and with it this, by retain().
class Runtime::Pool final : public Launcher {
 public:
  Pool(Runtime& runtime, LaunchSpec spec, Welcome welcome, StartMethod method,
       const Hosting& hosting, LaunchSpec fallback, Lanes lanes)
      : runtime_(runtime),
        spec_(std::move(spec)),
        fallback_(std::move(fallback)),
        lanes_(lanes),
        welcome_(std::move(welcome)),
        method_(method),
        has_hosts_(hosting.hosts != 0),
        plan_(hosting.hosts, hosting.reuses_places),
        bell_(runtime.control_),
        timer_(runtime.control_) {}

  // Listens for the control bell from now on.
  void attach(Supervisor& supervisor) {
    supervisor_ = &supervisor;
    supervisor.retain();
    const int bell = ::fcntl(supervisor.control_bell(), F_DUPFD_CLOEXEC, 0);
    if (bell < 0) throw std::system_error(errno, std::generic_category(), "dup(bell)");
    bell_.assign(bell);
    listen();
    const std::lock_guard lock(runtime_.mutex_);
    runtime_.open_.insert(&supervisor);
  }

  std::uint64_t next_key() override { return ++runtime_.last_key_; }

  void launch(std::uint64_t key, std::uint32_t rank, const WorkerFds& fds) override {
    {
      const std::lock_guard lock(runtime_.mutex_);
      runtime_.workers_.emplace(key, supervisor_);
    }
    try {
      launch_with_output(key, rank, fds);
    } catch (...) {
      if (welcome_.forward_output) runtime_.output_.forget(key);
      const std::lock_guard lock(runtime_.mutex_);
      runtime_.workers_.erase(key);
      throw;
    }
  }

  void kill(std::uint64_t key) noexcept override { runtime_.host_.kill(key); }

  void signal(std::uint64_t key, int number) noexcept override {
    runtime_.host_.signal(key, number);
  }

  void call_after(std::uint64_t delay_ns) override {
    asio::post(runtime_.control_, [this, delay_ns] {
      if (ended_) return;
      timer_.expires_after(std::chrono::nanoseconds(delay_ns));
      timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !ended_) supervisor_->on_timer();
      });
    });
  }

  void ended() override {
    asio::post(runtime_.control_, [this] {
      ended_ = true;
      for (const std::uint64_t host : plan_.hosts()) runtime_.host_.retire_host(host);
      timer_.cancel();
      bell_.close();
      {
        const std::lock_guard lock(runtime_.mutex_);
        runtime_.open_.erase(supervisor_);
      }
      // Behind the handlers that were cancelled just now.
      asio::post(runtime_.control_, [supervisor = supervisor_] { supervisor->release(); });
    });
  }

 private:
  // The worker has the only writing ends, once it has its welcome.
  void launch_with_output(std::uint64_t key, std::uint32_t rank, WorkerFds fds) {
    std::array<ipc::UniqueFd, OutputPipes::kStreams> output;
    if (welcome_.forward_output) {
      output = runtime_.output_.open(key);
      fds.out = output[OutputPipes::kOut].get();
      fds.err = output[OutputPipes::kErr].get();
      fds.log = output[OutputPipes::kLog].get();
    }
    const bool falls_back = lanes_.choice_of(rank) == Choice::fallback;
    const LaunchSpec& spec = falls_back ? fallback_ : spec_;
    if (has_hosts_ && !falls_back) {
      launch_in_host(key, lanes_.lane_of(rank), fds);
    } else if (method_ == StartMethod::fork_template) {
      runtime_.host_.launch_from_template(spec, key, fds, welcome_);
    } else {
      runtime_.host_.launch_by_spawn(spec, key, fds, welcome_);
    }
  }

  // The supervisor holds its mutex, so nobody else is here.
  void launch_in_host(std::uint64_t key, Lane lane, const WorkerFds& fds) {
    for (;;) {
      std::uint64_t host = plan_.host_for(lane);
      if (host == 0) {
        host = next_key();
        if (const std::uint64_t before = plan_.begin_host(lane, host)) {
          runtime_.host_.retire_host(before);
        }
      }
      if (runtime_.host_.launch_in_host(spec_, method_, host, key, fds, welcome_)) {
        plan_.use_place(lane);
        return;
      }
      plan_.lose_host(lane);
    }
  }

  void listen() {
    bell_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this](const boost::system::error_code& error) {
                       if (error || ended_) return;
                       supervisor_->on_control_bell();
                       listen();
                     });
  }

  // immutable after attach
  Runtime& runtime_;
  const LaunchSpec spec_;
  const LaunchSpec fallback_;
  const Lanes lanes_;
  const Welcome welcome_;
  const StartMethod method_;
  const bool has_hosts_;
  Supervisor* supervisor_ = nullptr;
  // under the supervisor's mutex; read by ended() when nothing is launched any more
  HostPlan plan_;
  // control thread only
  asio::posix::stream_descriptor bell_;
  asio::steady_timer timer_;
  bool ended_ = false;
};

namespace {

ProcessHost::Callbacks callbacks(auto pool_of, auto note) {
  ProcessHost::Callbacks calls;
  calls.started = [pool_of](std::uint64_t key, pid_t pid) {
    if (Supervisor* pool = pool_of(key, false)) pool->on_started(key, pid);
  };
  calls.exited = [pool_of](std::uint64_t key, pid_t pid, const WorkerExit& exit) {
    if (Supervisor* pool = pool_of(key, true)) pool->on_exited(key, pid, exit);
  };
  calls.failed = [pool_of](std::uint64_t key, const std::string& reason, bool with_others) {
    if (Supervisor* pool = pool_of(key, true)) pool->on_failed(key, reason, with_others);
  };
  calls.note = note;
  return calls;
}

}  // namespace

Runtime::Runtime()
    : work_(asio::make_work_guard(control_)),
      host_(control_,
            callbacks([this](std::uint64_t key, bool forget) { return pool_of(key, forget); },
                      [this](const std::string& text) {
                        const std::lock_guard lock(mutex_);
                        // Hosts come and go and say the same, and a program may never ask.
                        if (std::ranges::find(notes_, text) != notes_.end()) return;
                        notes_.push_back(text);
                        has_notes_.store(true, std::memory_order_relaxed);
                      })) {
  // The thread inherits the mask: signals are for the user's threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { run_control_thread(); });
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Runtime::~Runtime() { close(0); }

void Runtime::run_control_thread() {
  pthread_setname_np(pthread_self(), "owngil-control");
  control_.run();
}

Supervisor& Runtime::open_pool(const SupervisorOptions& options, LaunchSpec spec, Welcome welcome,
                               StartMethod method, const Hosting& hosting, LaunchSpec fallback) {
  auto pool = std::make_unique<Pool>(*this, std::move(spec), std::move(welcome), method, hosting,
                                     std::move(fallback), Lanes{options.has_fallback});
  Pool& launcher = *pool;
  auto supervisor = std::make_unique<Supervisor>(options, std::move(pool));
  launcher.attach(*supervisor);
  return *supervisor.release();
}

Supervisor* Runtime::pool_of(std::uint64_t key, bool forget) {
  const std::lock_guard lock(mutex_);
  const auto found = workers_.find(key);
  if (found == workers_.end()) return nullptr;
  Supervisor* pool = found->second;
  if (forget) workers_.erase(found);
  return pool;
}

std::vector<std::string> Runtime::take_notes() {
  const std::lock_guard lock(mutex_);
  has_notes_.store(false, std::memory_order_relaxed);
  return std::exchange(notes_, {});
}

std::vector<Supervisor*> Runtime::open_pools() {
  const std::lock_guard lock(mutex_);
  std::vector<Supervisor*> pools(open_.begin(), open_.end());
  for (Supervisor* pool : pools) pool->retain();
  return pools;
}

void Runtime::close(int limit_ms) {
  if (!thread_.joinable()) return;
  host_.close(limit_ms);
  work_.reset();
  control_.stop();
  thread_.join();
  // What it has not come to: by these handlers a pool that has ended lets go of its supervisor.
  control_.restart();
  control_.poll();
}

void Runtime::forked_child() noexcept {
  host_.forked_child();
  output_.forked_child();
}

}  // namespace owngil::runtime

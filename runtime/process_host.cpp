// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/process_host.hpp"

#include "runtime/process_host_state.hpp"

#include <utility>

namespace owngil::runtime {

ProcessHost::ProcessHost(boost::asio::io_context& control, Callbacks callbacks)
    : state_(std::make_unique<State>(control, std::move(callbacks))) {}

// A forked child's copy is not destroyed: its reactor is the parent's.
ProcessHost::~ProcessHost() {
  if (state_->is_forked()) static_cast<void>(state_.release());
}

void ProcessHost::launch_from_template(const LaunchSpec& spec, std::uint64_t key,
                                       const WorkerFds& fds, const Welcome& welcome) {
  state_->launch_from_template(spec, key, fds, welcome);
}

void ProcessHost::launch_by_spawn(const LaunchSpec& spec, std::uint64_t key, const WorkerFds& fds,
                                  const Welcome& welcome) {
  state_->launch_by_spawn(spec, key, fds, welcome);
}

bool ProcessHost::launch_in_host(const LaunchSpec& spec, StartMethod method, std::uint64_t host,
                                 std::uint64_t key, const WorkerFds& fds, const Welcome& welcome) {
  return state_->launch_in_host(spec, method, host, key, fds, welcome);
}

void ProcessHost::retire_host(std::uint64_t host) { state_->retire_host(host); }

void ProcessHost::kill(std::uint64_t key) { state_->kill(key); }

void ProcessHost::signal(std::uint64_t key, int number) noexcept { state_->signal(key, number); }

void ProcessHost::close(int limit_ms) { state_->close(limit_ms); }

void ProcessHost::forked_child() noexcept { state_->forked_child(); }

pid_t ProcessHost::guardian_pid() const { return state_->guardian_pid(); }

std::vector<pid_t> ProcessHost::template_pids() const { return state_->template_pids(); }

}  // namespace owngil::runtime

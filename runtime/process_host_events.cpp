// SPDX-License-Identifier: BSD-3-Clause
// ProcessHost on the control thread: what guardian, templates and workers say, and their deaths.
#include "ipc/clock.hpp"
#include "runtime/process_host_state.hpp"
#include "runtime/wait_status.hpp"

#include <boost/system/error_code.hpp>

#include <poll.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <utility>

namespace owngil::runtime {
namespace {

// How long a death waits for the word of a guardian that lives. It usually takes a tenth of a
// millisecond, but on a crowded machine the guardian waits for a CPU as everybody does.
constexpr std::chrono::milliseconds kWordLimit{1000};
constexpr std::chrono::milliseconds kFlushEvery{2};
constexpr std::size_t kMaxStrays = 64;

bool is_readable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, 0) == 1;
}

}  // namespace

template <class Step>
void ProcessHost::State::on_control(Step step) {
  Events events;
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || is_forked()) return;
    step(events);
  }
  emit(events);
}

void ProcessHost::State::emit(Events& events) const {
  for (const Event& event : events) {
    switch (event.what) {
      case Event::What::started: callbacks_.started(event.key, event.pid); break;
      case Event::What::exited: callbacks_.exited(event.key, event.pid, event.exit); break;
      case Event::What::failed: callbacks_.failed(event.key, event.text, event.with_others); break;
      case Event::What::note: callbacks_.note(event.text); break;
    }
  }
}

// --- waiting: each handler looks its object up again, for it may be gone by then

void ProcessHost::State::watch_guardian() {
  if (!guardian_) return;
  guardian_->watched.wait(control_, [this, id = guardian_->id](boost::system::error_code error) {
    if (error) return;
    on_control([this, id](Events& events) {
      if (guardian_ && guardian_->id == id) read_guardian(events);
    });
  });
}

void ProcessHost::State::watch_template(std::uint64_t id) {
  Template* const one = find_template(id);
  if (one == nullptr || !one->peer) return;
  one->peer->watched.wait(control_, [this, id](boost::system::error_code error) {
    if (error) return;
    on_control([this, id](Events& events) { read_template(id, events); });
  });
}

void ProcessHost::State::watch_launch(std::uint64_t key) {
  const auto found = launches_.find(key);
  if (found == launches_.end()) return;
  found->second->watched->wait(control_, [this, key](boost::system::error_code error) {
    if (error) return;
    on_control([this, key](Events& events) {
      const auto launch = launches_.find(key);
      if (launch == launches_.end()) return;
      switch (launch->second->phase) {
        case Phase::asked: read_report(key, events); break;
        case Phase::running:
          if (launch->second->pidfd) {
            read_end(key, events);
          } else {
            on_pidfd(key, events);
          }
          break;
        default: break;
      }
    });
  });
}

// --- the guardian

void ProcessHost::State::read_guardian(Events& events) {
  for (;;) {
    ipc::ControlMessage message;
    switch (ipc::receive_control(guardian_->watched.fd(), message)) {
      case ipc::Receive::nothing: watch_guardian(); return;
      case ipc::Receive::closed:
        drop_guardian();
        end_waits_for_words(events);
        return;
      case ipc::Receive::got: break;
    }
    switch (message.header.verb) {
      case ipc::Verb::reaped: on_reaped(message.header, events); break;
      case ipc::Verb::spawned:
        if (Template* const one = find_template(message.header.key); one && one->peer) {
          one->peer->pid = message.header.pid;
        }
        break;
      case ipc::Verb::spawn_failed: on_spawn_failed(message, events); break;
      default: break;
    }
  }
}

// There will be none any more.
void ProcessHost::State::end_waits_for_words(Events& events) {
  std::vector<std::uint64_t> keys;
  for (const auto& [key, launch] : launches_) {
    if (launch->phase == Phase::dead || launch->phase == Phase::lost) keys.push_back(key);
  }
  for (const std::uint64_t key : keys) on_silence(key, events);
}

void ProcessHost::State::on_reaped(const ipc::ControlHeader& header, Events& events) {
  const WorkerExit exit{header.status, true, header.peak_rss_bytes};
  if (Template* const one = find_template(header.key)) {
    one->death = "its template process died: " + describe_wait_status(header.status);
    fail_lost_of(*one, events);
    return;
  }
  std::vector<std::uint64_t> keys;
  const auto known = running_.equal_range(header.pid);
  for (auto one = known.first; one != known.second; ++one) keys.push_back(one->second);
  // A spawned worker that has not started has that of the request; one that was forked has none.
  if (keys.empty() && launches_.contains(header.key)) keys.push_back(header.key);
  const bool others_may_come = keys.empty() || launches_.at(keys.front())->host != 0;
  if (others_may_come) {
    if (strays_.size() == kMaxStrays) strays_.pop_front();
    strays_.push_back({header.pid, exit});
  }
  for (const std::uint64_t key : keys) {
    Launch& launch = *launches_.at(key);
    launch.exit = exit;
    switch (launch.phase) {
      case Phase::dead: finish(key, events); break;
      case Phase::lost: on_silence(key, events); break;
      default: break;
    }
  }
}

void ProcessHost::State::on_spawn_failed(const ipc::ControlMessage& message, Events& events) {
  if (Template* const one = find_template(message.header.key)) {
    one->death = message.text;
    fail_lost_of(*one, events);
  } else if (launches_.contains(message.header.key)) {
    fail(message.header.key, message.text, events);
  }
}

// --- a template

void ProcessHost::State::read_template(std::uint64_t id, Events& events) {
  Template* const one = find_template(id);
  if (one == nullptr || !one->peer) return;
  for (;;) {
    ipc::ControlMessage message;
    switch (ipc::receive_control(one->peer->watched.fd(), message)) {
      case ipc::Receive::nothing: watch_template(id); return;
      case ipc::Receive::closed: drop_template(*one); return;
      case ipc::Receive::got: break;
    }
    if (message.header.verb == ipc::Verb::note) {
      events.push_back({Event::What::note, 0, 0, {}, message.text});
    }
  }
}

// --- a host

void ProcessHost::State::watch_host(std::uint64_t id) {
  const auto found = hosts_.find(id);
  if (found == hosts_.end() || !found->second.peer) return;
  found->second.peer->watched.wait(control_, [this, id](boost::system::error_code error) {
    if (error) return;
    on_control([this, id](Events&) { read_host(id); });
  });
}

// It has nothing to say; it only ends, and what it has not read comes to nothing.
void ProcessHost::State::read_host(std::uint64_t id) {
  const auto found = hosts_.find(id);
  if (found == hosts_.end() || !found->second.peer) return;
  ipc::ControlMessage message;
  if (ipc::receive_control(found->second.peer->watched.fd(), message) == ipc::Receive::closed) {
    retire(std::move(found->second.peer));
  } else {
    watch_host(id);
  }
}

// --- a worker of a host

void ProcessHost::State::read_end(std::uint64_t key, Events& events) {
  Launch& launch = *launches_.at(key);
  for (;;) {
    ipc::ControlMessage message;
    switch (ipc::receive_control(launch.watched->fd(), message)) {
      case ipc::Receive::nothing: watch_launch(key); return;
      case ipc::Receive::closed: break;
      case ipc::Receive::got:
        if (message.header.verb == ipc::Verb::note) {
          events.push_back({Event::What::note, 0, 0, {}, message.text});
          continue;
        }
        if (message.header.verb != ipc::Verb::ended) break;
        launch.exit = WorkerExit{message.header.status, true, 0, {}, false};
        finish(key, events);
        return;
    }
    break;
  }
  // Its process has ended, or a task has closed every descriptor there.
  launch.watched = std::move(launch.pidfd);
  watch_launch(key);
}

void ProcessHost::State::fail_lost_of(const Template& one, Events& events) {
  std::vector<std::uint64_t> keys;
  for (const auto& [key, launch] : launches_) {
    if (launch->phase == Phase::lost && launch->template_id == one.id) keys.push_back(key);
  }
  for (const std::uint64_t key : keys) fail(key, one.death, events);
}

// --- a worker that is to say `started`

void ProcessHost::State::read_report(std::uint64_t key, Events& events) {
  Launch& launch = *launches_.at(key);
  ipc::ControlMessage message;
  switch (ipc::receive_control(launch.watched->fd(), message)) {
    case ipc::Receive::nothing: watch_launch(key); return;
    case ipc::Receive::closed: on_lost(key, launch, events); return;
    case ipc::Receive::got: break;
  }
  if (message.header.verb == ipc::Verb::started && message.header.pid > 0) {
    on_started(key, launch, message, events);
  } else {
    fail(key, message.text.empty() ? "the new worker sent nonsense" : message.text, events);
  }
}

void ProcessHost::State::on_started(std::uint64_t key, Launch& launch, ipc::ControlMessage& message,
                                    Events& events) {
  const pid_t pid = message.header.pid;
  if (message.fds.size() != 1) {
    ::kill(pid, SIGKILL);
    fail(key, "no room for the worker's pidfd (ulimit -n)", events);
    return;
  }
  launch.pid = pid;
  launch.phase = Phase::running;
  if (launch.host_had_workers) *launch.host_had_workers = true;
  launch.sender.reset();
  (launch.host != 0 ? launch.pidfd : launch.watched) =
      std::make_unique<Watched>(fds_, std::move(message.fds.front()));
  if (launch.kill_wanted) signal_by(launch, SIGKILL);
  const auto stray = std::find_if(strays_.begin(), strays_.end(),
                                  [pid](const Stray& one) { return one.pid == pid; });
  if (stray != strays_.end()) {
    // Its own only if it is dead already; else somebody's who had this pid before.
    if (is_readable((launch.pidfd ? launch.pidfd : launch.watched)->fd())) {
      launch.exit = stray->exit;
    }
    strays_.erase(stray);
  }
  running_.emplace(pid, key);
  // Before anybody knows of it: once it is dead, nothing says where it was.
  launch.memory = oom_watch_.enter(pid);
  events.push_back({Event::What::started, key, pid, {}, {}});
  watch_launch(key);
}

// The socket closed without a word: the worker is dead, or the one who should have started it.
void ProcessHost::State::on_lost(std::uint64_t key, Launch& launch, Events& events) {
  launch.phase = Phase::lost;
  launch.sender.reset();
  launch.watched.reset();
  const Template* const one = find_template(launch.template_id);
  // Of a host's end nothing would be told to a worker that it had not yet.
  if (launch.exit || launch.host != 0 || (one != nullptr && !one->death.empty())) {
    on_silence(key, events);
  } else {
    await_word(key, launch);
  }
}

// --- a worker that has died

void ProcessHost::State::on_pidfd(std::uint64_t key, Events& events) {
  Launch& launch = *launches_.at(key);
  if (!is_readable(launch.watched->fd())) {
    watch_launch(key);
    return;
  }
  launch.phase = Phase::dead;
  if (launch.exit || !guardian_) {
    finish(key, events);
  } else {
    await_word(key, launch);
  }
}

void ProcessHost::State::await_word(std::uint64_t key, Launch& launch) {
  launch.timer.emplace(control_, kWordLimit);
  launch.timer->async_wait([this, key](boost::system::error_code error) {
    if (error) return;
    on_control([this, key](Events& events) { on_silence(key, events); });
  });
}

// What there was to be heard has been heard.
void ProcessHost::State::on_silence(std::uint64_t key, Events& events) {
  const auto found = launches_.find(key);
  if (found == launches_.end()) return;
  const Launch& launch = *found->second;
  if (launch.phase == Phase::dead) {
    finish(key, events);
    return;
  }
  const Template* const one = find_template(launch.template_id);
  if (one != nullptr && !one->death.empty()) {
    fail(key, one->death, events);
  } else if (launch.exit) {
    fail(key,
         "the worker died before it was ready: " + describe_wait_status(launch.exit->wait_status),
         events);
  } else if (one != nullptr && !one->peer) {
    fail(key, "its template process died", events);
  } else {
    fail(key, "the worker died before it was ready", events);
  }
}

void ProcessHost::State::finish(std::uint64_t key, Events& events) {
  const auto found = launches_.find(key);
  const Launch& launch = *found->second;
  WorkerExit exit = launch.exit.value_or(WorkerExit{});
  exit.oom = oom_evidence(launch);
  events.push_back({Event::What::exited, key, launch.pid, exit, {}});
  const auto known = running_.equal_range(launch.pid);
  for (auto one = known.first; one != known.second; ++one) {
    if (one->second != key) continue;
    running_.erase(one);
    break;
  }
  launches_.erase(found);
}

OomEvidence ProcessHost::State::oom_evidence(const Launch& launch) {
  OomWatch::Group* const group = launch.memory;
  OomEvidence evidence;
  if (launch.exit && (launch.kill_wanted || !WIFSIGNALED(launch.exit->wait_status) ||
                      WTERMSIG(launch.exit->wait_status) != SIGKILL)) {
    evidence.verdict = OomEvidence::Verdict::no;
  } else if (launch.exit && group != nullptr) {
    evidence = oom_watch_.examine(*group, ipc::now_ns());
  }
  if (group != nullptr) oom_watch_.leave(*group);
  return evidence;
}

void ProcessHost::State::fail(std::uint64_t key, std::string reason, Events& events) {
  const auto found = launches_.find(key);
  const std::shared_ptr<bool>& had_workers = found->second->host_had_workers;
  const bool with_others = had_workers && *had_workers;
  events.push_back({Event::What::failed, key, 0, {}, std::move(reason), with_others});
  launches_.erase(found);
}

// --- messages that the sockets had no room for

void ProcessHost::State::flush_later() {
  const std::lock_guard lock(mutex_);
  if (closed_ || is_forked()) return;
  flush_timer_.expires_after(kFlushEvery);
  flush_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) flush();
  });
}

void ProcessHost::State::flush() {
  bool again = false;
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || is_forked()) return;
    const auto flush_one = [&again](Peer* peer) {
      if (peer == nullptr) return;
      again |= peer->sender.flush() == ControlSender::Sent::kept;
    };
    flush_one(guardian_.get());
    for (const Template& one : templates_) flush_one(one.peer.get());
    for (const auto& [key, launch] : launches_) {
      if (!launch->sender) continue;
      if (launch->sender->flush() == ControlSender::Sent::kept) {
        again = true;
      } else {
        launch->sender.reset();
      }
    }
    flush_pending_ = again;
  }
  if (again) flush_later();
}

}  // namespace owngil::runtime

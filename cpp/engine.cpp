// SPDX-License-Identifier: BSD-3-Clause
#include "cpp/engine.hpp"

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

namespace owngil::cpp {
namespace {

// Long enough for processes that are killed to be gone.
constexpr int kCloseLimitMs = 2000;
constexpr std::size_t kMostAnswers = 64;

struct Registry {
  std::mutex mutex;
  std::weak_ptr<Engine> engine;
  Engine* alive = nullptr;  // the same, as long as its destructor has not begun
};

// Never destroyed: pools of static storage duration may be, after anything that is.
Registry& registry() {
  static Registry& made = *new Registry;
  return made;
}

std::atomic<std::uint64_t> forks{0};

// Nobody else is between the two while the process forks.
void before_fork() { registry().mutex.lock(); }
void after_fork_in_parent() { registry().mutex.unlock(); }
void after_fork_in_child() {
  Registry& found = registry();
  forks.fetch_add(1, std::memory_order_relaxed);  // the child has one thread
  if (found.alive != nullptr) found.alive->runtime().forked_child();
  found.alive = nullptr;
  found.engine.reset();
  found.mutex.unlock();
}

void watch_forks() {
  static const int error = ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  if (error != 0) throw std::system_error(error, std::generic_category(), "pthread_atfork");
}

}  // namespace

std::shared_ptr<Engine> Engine::current() {
  watch_forks();
  Registry& found = registry();
  const std::lock_guard lock(found.mutex);
  std::shared_ptr<Engine> engine = found.engine.lock();
  if (engine == nullptr) {
    engine = std::make_shared<Engine>();
    found.engine = engine;
    found.alive = engine.get();
  }
  return engine;
}

std::uint64_t Engine::generation() noexcept {
  return forks.load(std::memory_order_relaxed);  // changes only where there is one thread
}

Engine::~Engine() {
  {
    Registry& found = registry();
    const std::lock_guard lock(found.mutex);
    if (found.alive == this) found.alive = nullptr;
  }
  runtime_.close(kCloseLimitMs);
}

LaunchAnswer Engine::launch_answer(const LaunchQuestion& question) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = answers_.find(question);
    if (found != answers_.end()) return found->second;
  }
  LaunchAnswer answer = ask_python(question);
  const std::lock_guard lock(mutex_);
  if (answers_.size() >= kMostAnswers) answers_.clear();
  return answers_.insert_or_assign(question, std::move(answer)).first->second;
}

}  // namespace owngil::cpp

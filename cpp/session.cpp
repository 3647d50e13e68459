// SPDX-License-Identifier: BSD-3-Clause
#include "cpp/session.hpp"

#include "cpp/cpus.hpp"
#include "cpp/durations.hpp"
#include "cpp/pickle_writer.hpp"
#include "ipc/clock.hpp"
#include "owngil/errors.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <new>
#include <stdexcept>
#include <utility>

namespace owngil::cpp {
namespace {

constexpr std::size_t kSmallestArena = std::size_t{1} << 24;
constexpr std::uint64_t kStartLimitNs = 2'000'000'000;

// Address space, not memory; but where that is limited, all arenas together take an eighth.
std::size_t arena_size(std::uint32_t workers, std::size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return wanted;
  const std::size_t share = static_cast<std::size_t>(limit.rlim_cur) / (8 * (workers + 1ULL));
  return std::clamp(share / kSmallestArena * kSmallestArena, kSmallestArena, wanted);
}

void check(const PoolOptions& options) {
  if (options.kind == Kind::process && options.hosts != 0) {
    throw std::invalid_argument("owngil: hosts is for Kind::interpreter");
  }
  if (options.restart_window.count() == 0) {
    throw std::invalid_argument("owngil: restart_window must be more than 0");
  }
}

runtime::SupervisorOptions supervisor_options(const PoolOptions& options, unsigned cpus) {
  runtime::SupervisorOptions made;
  made.workers = options.workers != 0 ? options.workers : cpus;
  made.cpus = cpus;
  made.max_tasks_per_worker = options.max_tasks_per_worker;
  made.max_memory_per_worker = options.max_memory_per_worker;
  made.idle_timeout_ns = nanoseconds(options.idle_timeout, "idle_timeout");
  if (options.max_restarts) {
    made.restarts.losses = *options.max_restarts;
    made.restarts.for_each_seat = 0;
  }
  made.restarts.window_ns = nanoseconds(options.restart_window, "restart_window");
  if (cpus == 1) made.spin_ns = 0;
  made.arena_size = arena_size(made.workers, made.arena_size);
  return made;
}

std::string name_of_pool(const PoolOptions& options) {
  static std::atomic<unsigned> last{0};
  return !options.name.empty() ? options.name : "pool-" + std::to_string(++last);
}

// "module:name" as its two parts.
std::pair<std::string_view, std::string_view> parts_of(std::string_view name) {
  const auto colon = name.find(':');
  const bool is_name = colon != std::string_view::npos && colon != 0 && colon + 1 != name.size() &&
                       name.find(':', colon + 1) == std::string_view::npos &&
                       name.find_first_of(std::string_view("\0\n", 2)) == std::string_view::npos &&
                       is_utf8(name, false);
  if (!is_name) {
    throw std::invalid_argument("owngil: a function is named \"module:name\", not \"" +
                                std::string(name) + "\"");
  }
  return {name.substr(0, colon), name.substr(colon + 1)};
}

}  // namespace

Session::Session(const PoolOptions& options)
    : generation_([&options] {
        check(options);
        return Engine::generation();
      }()) {
  engine_ = Engine::current();
  const unsigned cpus = usable_cpus();
  const runtime::SupervisorOptions made = supervisor_options(options, cpus);
  const unsigned threads = options.threads_per_worker != 0 ? options.threads_per_worker
                                                           : std::max(1U, cpus / made.workers);
  LaunchAnswer answer = engine_->launch_answer(launch_question(options, threads));
  runtime::Hosting hosting;
  if (options.kind == Kind::interpreter) {
    hosting.hosts = std::clamp(options.hosts, 1U, made.workers);
    hosting.reuses_places = answer.reuses_places;
  }
  runtime::Welcome welcome;
  welcome.pool_name = name_of_pool(options);
  welcome.kill_orphans = options.kill_orphans;
  supervisor_ = &engine_->runtime().open_pool(made, std::move(answer.spec), std::move(welcome),
                                              options.start == Start::spawn
                                                  ? runtime::StartMethod::spawn
                                                  : runtime::StartMethod::fork_template,
                                              hosting);
  try {
    start(options.initializer);
  } catch (...) {
    supervisor_->shutdown(true);
    kill_workers(kStartLimitNs);
    supervisor_->release();
    throw;
  }
}

void Session::start(const std::string& initializer) {
  if (initializer.empty()) return supervisor_->start(nullptr);
  const runtime::Call call{function(initializer), 0, ipc::Format::none, {}};
  supervisor_->start(&call);
}

Session::~Session() {
  if (is_ours()) {
    supervisor_->release();
  } else {
    static_cast<void>(new std::shared_ptr(std::move(engine_)));
  }
}

bool Session::wait_ended(std::uint64_t deadline_ns) const {
  runtime::WaitEnd end = runtime::WaitEnd::signal;
  while (end == runtime::WaitEnd::signal) end = supervisor().wait_ended(deadline_ns);
  return end == runtime::WaitEnd::ready;
}

void Session::kill_workers(std::uint64_t limit_ns) {
  supervisor().end_workers(SIGKILL);
  if (!wait_ended(ipc::now_ns() + limit_ns)) abandon();
}

void Session::abandon() noexcept {
  // Its launcher refers to the runtime, which therefore stays, too.
  static_cast<void>(new (std::nothrow) std::shared_ptr(engine_));
}

runtime::Supervisor& Session::supervisor() const {
  if (is_ours()) return *supervisor_;
  throw PoolClosed(
      "owngil: this pool belongs to the parent process: it is closed in a child of fork(). Make a "
      "Pool of the child's own.");
}

std::uint32_t Session::add_blob(const std::string& key, std::span<const std::byte> bytes,
                                const std::string& name) {
  const std::uint32_t number = supervisor_->add_blob(bytes, name);
  if (number == 0) throw std::bad_alloc();
  blobs_.emplace(key, number);
  return number;
}

// As owngil._worker.load_function reads it: where it is to be imported from.
std::uint32_t Session::function(std::string_view name) {
  const std::lock_guard lock(mutex_);
  const std::string key(name);
  if (const auto found = blobs_.find(key); found != blobs_.end()) return found->second;
  const auto [module, function] = parts_of(name);
  std::string blob = "R" + std::string(module);
  blob.push_back('\0');
  blob += function;
  const std::string full = module == "builtins" ? std::string(function)
                                                : std::string(module) + "." + std::string(function);
  return add_blob(key, std::as_bytes(std::span(blob)), full);
}

// The same as owngil._options makes: functools.partial(owngil._worker.is_one_of, kinds).
std::uint32_t Session::judge(const std::vector<std::string>& kinds) {
  const std::lock_guard lock(mutex_);
  std::string key = "judge";
  for (const std::string& kind : kinds) key += "\n" + kind;
  if (const auto found = blobs_.find(key); found != blobs_.end()) return found->second;
  PickleWriter writer;
  writer.global("functools", "partial");
  writer.op(Op::mark);
  writer.global("owngil._worker", "is_one_of");
  writer.op(Op::mark);
  for (const std::string& kind : kinds) {
    const auto [module, name] = parts_of(kind);
    writer.global(module, name);
  }
  writer.op(Op::tuple);
  writer.op(Op::tuple);
  writer.op(Op::reduce);
  Bytes blob = writer.take();
  blob.insert(blob.begin(), std::byte{'V'});
  return add_blob(key, blob, "retry_on");
}

}  // namespace owngil::cpp

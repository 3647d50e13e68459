// SPDX-License-Identifier: BSD-3-Clause
// One pool, as its handle, its views and its futures share it.
//
// Threads: any.
// Lifetime: counted; whoever goes last lets go of the supervisor, then of the engine. In a child of
//   fork() both are left where they lie.
// Not: the pool's end, which Pool's destructor brings about.
#pragma once

#include "cpp/engine.hpp"
#include "owngil/options.hpp"
#include "runtime/supervisor.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace owngil::cpp {

class Session {
 public:
  // Opens the pool and starts its workers. Throws as Pool's constructor.
  explicit Session(const PoolOptions& options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Throws PoolClosed in a child of fork().
  runtime::Supervisor& supervisor() const;
  [[nodiscard]] bool is_ours() const noexcept { return generation_ == Engine::generation(); }
  Engine& engine() const { return *engine_; }

  // The blob of a function "module:name". Throws std::invalid_argument, std::bad_alloc.
  std::uint32_t function(std::string_view name);
  // The blob that tells a worker which exceptions are worth another run; the same.
  std::uint32_t judge(const std::vector<std::string>& kinds);

  // Until all has ended, whatever signals come. False: the time is over.
  bool wait_ended(std::uint64_t deadline_ns) const;
  // Waits for so long; those that are not gone then hang in the kernel, and nothing is freed.
  void kill_workers(std::uint64_t limit_ns);
  // Nothing will end any more: killed workers hang in the kernel.
  void abandon() noexcept;

 private:
  std::uint32_t add_blob(const std::string& key, std::span<const std::byte> bytes,
                         const std::string& name);
  void start(const std::string& initializer);

  std::shared_ptr<Engine> engine_;
  runtime::Supervisor* supervisor_ = nullptr;
  const std::uint64_t generation_;
  std::mutex mutex_;                                      // guards:
  std::unordered_map<std::string, std::uint32_t> blobs_;  // as long as the pool
};

}  // namespace owngil::cpp

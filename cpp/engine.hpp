// SPDX-License-Identifier: BSD-3-Clause
// What all pools of this process share: the runtime, and how to start which Python.
//
// Threads: any.
// Lifetime: made with the first pool; whoever holds a pool or a future holds it. When the last of
//   them is gone, guardian and templates end, so that a program that is done with pools is as it
//   was before. In a child of fork() it is dead, and left where it lies.
#pragma once

#include "cpp/launch.hpp"
#include "runtime/runtime.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

namespace owngil::cpp {

class Engine {
 public:
  Engine() = default;
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // The one of this process; made, if there is none. Throws std::system_error.
  static std::shared_ptr<Engine> current();
  // How often this process had forked, from the first pool of the family on.
  static std::uint64_t generation() noexcept;

  // Asks that Python unless it has said so before. Throws StartError.
  LaunchAnswer launch_answer(const LaunchQuestion& question);

  runtime::Runtime& runtime() { return runtime_; }

 private:
  runtime::Runtime runtime_;
  std::mutex mutex_;  // guards:
  std::map<LaunchQuestion, LaunchAnswer> answers_;
};

}  // namespace owngil::cpp

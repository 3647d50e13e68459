// SPDX-License-Identifier: BSD-3-Clause
// What a task runs in: its context applied, its function loaded and made ready.
//
// Threads: needs the GIL, its destructor included.
// Lifetime: owns the functions until they are to be forgotten; borrows the module.
// Not: loaded ahead. A blob is decoded when a task that needs it has begun (its failure is
//   that task's), and again after a failure.
#pragma once

#include "workers/python.hpp"
#include "workers/received_blobs.hpp"
#include "workers/task.hpp"
#include "workers/worker_module.hpp"

#include <cstdint>
#include <unordered_map>

namespace owngil::workers {

class LoadedFunctions {
 public:
  explicit LoadedFunctions(const WorkerModule& module) noexcept : module_(module) {}

  // The callable for this task, borrowed until the next call here; nullptr: an exception is set.
  [[nodiscard]] PyObject* make_ready(const Task& task, const ReceivedBlobs& blobs) {
    const bool is_ready = current_ != nullptr && task.function == function_ &&
                          (task.context == context_ || task.context == 0);
    return is_ready ? current_ : switch_to(task, blobs);
  }

  // A callable that is not a task's own; borrowed until it is forgotten. nullptr: an exception is
  // set.
  [[nodiscard]] PyObject* load(std::uint32_t number, const ReceivedBlobs& blobs);

  void forget(std::uint32_t number);

 private:
  struct Function {
    Ref callable;
    Ref prepare;  // or nothing
    bool reload = false;
  };

  [[nodiscard]] PyObject* switch_to(const Task& task, const ReceivedBlobs& blobs);
  [[nodiscard]] bool switch_context(std::uint32_t number, const ReceivedBlobs& blobs);
  [[nodiscard]] Function* find_or_load(std::uint32_t number, const ReceivedBlobs& blobs);

  // immutable after construction
  const WorkerModule& module_;
  // the worker's loop
  std::unordered_map<std::uint32_t, Function> functions_;
  std::uint32_t context_ = 0;    // applied last; 0: none
  std::uint32_t function_ = 0;   // made ready last; 0: none
  PyObject* current_ = nullptr;  // its callable; nullptr: it must be made ready again
};

}  // namespace owngil::workers

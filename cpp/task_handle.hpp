// SPDX-License-Identifier: BSD-3-Clause
// A future's hold on its task.
//
// Threads: as the future. Lifetime: the future's; keeps the session.
#pragma once

#include "cpp/session.hpp"

#include <cstdint>
#include <memory>
#include <utility>

namespace owngil::cpp {

class TaskHandle {
 public:
  TaskHandle(std::shared_ptr<Session> session, runtime::Task& task) noexcept
      : session_(std::move(session)), task_(task) {}
  TaskHandle(const TaskHandle&) = delete;
  TaskHandle& operator=(const TaskHandle&) = delete;
  ~TaskHandle() {
    if (session_->is_ours()) session_->supervisor().forget(task_);
  }

  runtime::Task& task() const { return task_; }
  runtime::Supervisor& supervisor() const { return session_->supervisor(); }

  // Whether the outcome is there, at the latest then. Signals are handled meanwhile and end nothing.
  bool wait(std::uint64_t deadline_ns) const {
    runtime::Supervisor& supervisor = session_->supervisor();
    runtime::WaitEnd end = runtime::WaitEnd::signal;
    while (end == runtime::WaitEnd::signal) end = supervisor.wait(task_, deadline_ns);
    return end == runtime::WaitEnd::ready;
  }

 private:
  const std::shared_ptr<Session> session_;
  runtime::Task& task_;
};

}  // namespace owngil::cpp

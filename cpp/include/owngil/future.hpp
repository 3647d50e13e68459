// SPDX-License-Identifier: BSD-3-Clause
// A task's result, once there is one.
//
// Threads: one Future is one thread's at a time; which one, does not matter.
// Lifetime: may outlive its Pool. Letting it go cancels nothing.
#pragma once

#include <chrono>
#include <memory>
#include <owngil/export.hpp>
#include <owngil/options.hpp>
#include <owngil/value.hpp>
#include <utility>

namespace owngil {

namespace cpp {
class TaskHandle;
}

class OWNGIL_EXPORT Future {
 public:
  Future() noexcept;  // of no task
  explicit Future(std::unique_ptr<cpp::TaskHandle> handle) noexcept;
  Future(Future&&) noexcept;
  Future& operator=(Future&&) noexcept;
  ~Future();

  // Waits for the outcome and takes it: the future is of no task afterwards. Throws a TaskError,
  // PoolBroken, or PoolClosed in a child of fork().
  Value get();
  // The same, as this C++ type; throws BadConversion if it is another.
  template <Receivable T>
  T get() {
    return get().as<T>();
  }

  [[nodiscard]] bool is_valid() const noexcept { return handle_ != nullptr; }
  // The rest requires is_valid(); else std::logic_error.
  void wait() const;
  // Whether the outcome is there.
  [[nodiscard]] bool wait_for(std::chrono::nanoseconds duration) const;
  [[nodiscard]] bool is_done() const;
  [[nodiscard]] bool is_running() const;  // given to a worker, and not done
  // True: it ends as cancelled. One that has not begun never runs.
  bool cancel(const CancelOptions& options = {});
  // SIGKILL, now, for the worker that runs it; the same answer.
  bool kill() { return cancel({.running = true, .grace = std::chrono::nanoseconds(0)}); }

 private:
  cpp::TaskHandle& handle() const;

  std::unique_ptr<cpp::TaskHandle> handle_;
};

}  // namespace owngil

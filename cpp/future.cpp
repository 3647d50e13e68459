// SPDX-License-Identifier: BSD-3-Clause
#include "owngil/future.hpp"

#include "cpp/outcome.hpp"
#include "cpp/task_handle.hpp"
#include "ipc/clock.hpp"
#include "ipc/futex.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>

namespace owngil {

using runtime::WaitEnd;

Future::Future() noexcept = default;
Future::Future(std::unique_ptr<cpp::TaskHandle> handle) noexcept : handle_(std::move(handle)) {}
Future::Future(Future&&) noexcept = default;
Future& Future::operator=(Future&&) noexcept = default;
Future::~Future() = default;

cpp::TaskHandle& Future::handle() const {
  if (handle_ == nullptr) throw std::logic_error("owngil: this future is of no task");
  return *handle_;
}

Value Future::get() {
  wait();
  const std::unique_ptr<cpp::TaskHandle> taken = std::move(handle_);
  return cpp::take_outcome(taken->supervisor(), taken->task());
}

void Future::wait() const { static_cast<void>(handle().wait(ipc::kForever)); }

bool Future::wait_for(std::chrono::nanoseconds duration) const {
  const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0));
  return handle().wait(ipc::now_ns() + ns);
}

bool Future::is_done() const { return handle().supervisor().poll(handle().task()); }

bool Future::is_running() const {
  return !is_done() && handle().supervisor().is_running(handle().task());
}

bool Future::cancel(const CancelOptions& options) {
  std::optional<std::uint64_t> grace_ns;
  if (options.grace) {
    grace_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(options.grace->count(), 0));
  }
  return handle().supervisor().cancel(
      handle().task(), options.running ? runtime::Running::stop : runtime::Running::spare,
      grace_ns);
}

}  // namespace owngil

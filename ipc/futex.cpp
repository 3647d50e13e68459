// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace owngil::ipc {
namespace {

static_assert(sizeof(std::atomic<std::uint32_t>) == 4 && sizeof(std::atomic<std::uint64_t>) == 8);

constexpr std::uint64_t kSecond = 1'000'000'000;

// The kernel looks at 32 bits; these are the ones that change.
const void* low_half(const std::atomic<std::uint64_t>& counter) noexcept {
  const auto* bytes = reinterpret_cast<const char*>(&counter);
  return std::endian::native == std::endian::little ? bytes : bytes + 4;
}

Wake wait(const void* word, std::uint32_t expected, std::uint64_t timeout_ns) noexcept {
  timespec timeout;
  timeout.tv_sec = static_cast<time_t>(timeout_ns / kSecond);
  timeout.tv_nsec = static_cast<long>(timeout_ns % kSecond);
  const long rc = ::syscall(SYS_futex, word, FUTEX_WAIT, expected,
                            timeout_ns == kForever ? nullptr : &timeout, nullptr, 0);
  if (rc == 0) {
    return Wake::woken;
  }
  switch (errno) {
    case ETIMEDOUT: return Wake::timeout;
    case EINTR: return Wake::signal;
    default: return Wake::changed;
  }
}

int wake(const void* word, int at_most) noexcept {
  const long rc = ::syscall(SYS_futex, word, FUTEX_WAKE, at_most, nullptr, nullptr, 0);
  return rc < 0 ? 0 : static_cast<int>(rc);
}

}  // namespace

Wake futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                std::uint64_t timeout_ns) noexcept {
  return wait(&word, expected, timeout_ns);
}

Wake futex_wait(const std::atomic<std::uint64_t>& counter, std::uint64_t expected,
                std::uint64_t timeout_ns) noexcept {
  return wait(low_half(counter), static_cast<std::uint32_t>(expected), timeout_ns);
}

int futex_wake(const std::atomic<std::uint32_t>& word, int at_most) noexcept {
  return wake(&word, at_most);
}

int futex_wake(const std::atomic<std::uint64_t>& counter, int at_most) noexcept {
  return wake(low_half(counter), at_most);
}

}  // namespace owngil::ipc

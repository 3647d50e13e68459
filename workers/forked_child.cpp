// SPDX-License-Identifier: BSD-3-Clause
#include "workers/forked_child.hpp"

#include <pthread.h>

#include <atomic>

namespace owngil::workers {
namespace {

std::atomic<bool> is_child{false};

}  // namespace

void watch_forks() noexcept {
  // relaxed, both: whoever reads it is, or descends from, the one thread of the child
  [[maybe_unused]] static const int registered =
      ::pthread_atfork(nullptr, nullptr, [] { is_child.store(true, std::memory_order_relaxed); });
}

bool is_forked_child() noexcept { return is_child.load(std::memory_order_relaxed); }

}  // namespace owngil::workers

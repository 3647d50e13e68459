// SPDX-License-Identifier: BSD-3-Clause
// The reading ends of what workers print and log: two pipes and a socket for each worker, from its
// launch until nobody is left who could write to them, be it a process that the worker left behind.
//
// Threads: any, but wait() is one thread's at a time. Whoever reads one stream from several
//   threads sees to the order of what it got.
// Lifetime: the runtime's. A stream is closed by whoever reads its end.
// Not: text. Lines, and where they go, are owngil._output's.
#pragma once

#include "ipc/unique_fd.hpp"
#include "runtime/owned_fds.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

namespace owngil::runtime {

class OutputPipes {
 public:
  enum Stream : std::uint8_t { kOut, kErr, kLog };
  static constexpr std::size_t kStreams = 3;

  // What a worker may have written before it has to wait; the kernel may grant less.
  static constexpr std::size_t kPipeBytes = 256 * 1024;

  struct Ready {
    std::uint64_t key;
    Stream stream;
  };

  OutputPipes();  // throws std::system_error
  ~OutputPipes();
  OutputPipes(const OutputPipes&) = delete;
  OutputPipes& operator=(const OutputPipes&) = delete;

  // The writing ends for the worker with this key, by Stream. Throws std::system_error; then there
  // are no reading ends either.
  std::array<ipc::UniqueFd, kStreams> open(std::uint64_t key);
  // The worker was never started: nothing of it will be read.
  void forget(std::uint64_t key);

  // Blocks until some streams have something to be read, their end included, and appends them.
  // False: close() was called.
  bool wait(std::vector<Ready>& ready);
  // Ends wait() for good.
  void close() noexcept;

  enum class Got { bytes, nothing, end };
  // Takes what is there now, as much as fits; of kLog one message, which must fit. Never blocks.
  Got read(Ready from, std::span<std::byte> into, std::size_t& size);

  // Whoever reads from a worker says so before it does, and again when all that it has read is out: in
  // between the text is neither in a pipe nor to be seen.
  void begin_holding_text() noexcept { held_.fetch_add(1); }
  void end_holding_text() noexcept { held_.fetch_sub(1); }
  [[nodiscard]] bool is_text_held() const noexcept { return held_.load() != 0; }

  [[nodiscard]] std::vector<std::uint64_t> keys();  // of workers with an open stream
  [[nodiscard]] bool is_open(std::uint64_t key);    // any of its streams

  // In the child of the user's fork(): closes every descriptor and touches nothing else.
  void forked_child() noexcept;

 private:
  struct Source {
    std::mutex mutex;
    std::array<OwnedFd, kStreams> streams;  // guarded by the mutex
  };

  std::shared_ptr<Source> find(std::uint64_t key);
  void close(Source& source, Ready which);

  OwnedFds fds_;
  std::atomic<std::uint32_t> held_{0};  // of so many workers
  // immutable after construction
  OwnedFd epoll_;
  OwnedFd closing_;
  // guarded by mutex_
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Source>> sources_;
};

}  // namespace owngil::runtime

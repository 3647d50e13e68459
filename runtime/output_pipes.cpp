// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/output_pipes.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace owngil::runtime {
namespace {

constexpr std::uint64_t kClosing = ~std::uint64_t{0};
constexpr int kEventsAtOnce = 64;

[[noreturn]] void fail(const char* call) {
  throw std::system_error(errno, std::system_category(), call);
}

struct Ends {
  ipc::UniqueFd reading;
  ipc::UniqueFd writing;
};

Ends make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
  Ends made{ipc::UniqueFd(ends[0]), ipc::UniqueFd(ends[1])};
  // The worker's end stays as a program expects its output to be.
  if (::fcntl(made.reading.get(), F_SETFL, O_NONBLOCK) != 0) fail("fcntl O_NONBLOCK");
  static_cast<void>(::fcntl(made.reading.get(), F_SETPIPE_SZ, OutputPipes::kPipeBytes));
  return made;
}

// Messages and not a stream of bytes: processes that a task forks may log beside it, and one that
// is killed in the middle of a record spoils no other's.
Ends make_socket() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
  Ends made{ipc::UniqueFd(ends[0]), ipc::UniqueFd(ends[1])};
  if (::fcntl(made.reading.get(), F_SETFL, O_NONBLOCK) != 0) fail("fcntl O_NONBLOCK");
  return made;
}

std::uint64_t pack(OutputPipes::Ready which) { return which.key << 2 | which.stream; }

OutputPipes::Ready unpack(std::uint64_t packed) {
  return {packed >> 2, static_cast<OutputPipes::Stream>(packed & 3)};
}

void watch(int epoll, int fd, std::uint64_t data) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = data;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
}

}  // namespace

OutputPipes::OutputPipes() {
  ipc::UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) fail("epoll_create1");
  ipc::UniqueFd closing(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!closing) fail("eventfd");
  watch(epoll.get(), closing.get(), kClosing);
  epoll_ = OwnedFd(fds_, std::move(epoll));
  closing_ = OwnedFd(fds_, std::move(closing));
}

OutputPipes::~OutputPipes() = default;

std::array<ipc::UniqueFd, OutputPipes::kStreams> OutputPipes::open(std::uint64_t key) {
  std::array<Ends, kStreams> ends{make_pipe(), make_pipe(), make_socket()};
  auto source = std::make_shared<Source>();
  std::array<ipc::UniqueFd, kStreams> writing;
  const std::lock_guard lock(mutex_);
  const std::lock_guard of_source(source->mutex);
  for (std::size_t i = 0; i != kStreams; ++i) {
    // What fails from here on closes them, and that takes them out of the epoll.
    watch(epoll_.get(), ends[i].reading.get(), pack({key, static_cast<Stream>(i)}));
    source->streams[i] = OwnedFd(fds_, std::move(ends[i].reading));
    writing[i] = std::move(ends[i].writing);
  }
  sources_.emplace(key, source);
  return writing;
}

void OutputPipes::forget(std::uint64_t key) {
  if (const auto source = find(key)) {
    const std::lock_guard lock(source->mutex);
    for (std::size_t i = 0; i != kStreams; ++i) close(*source, {key, static_cast<Stream>(i)});
  }
  const std::lock_guard lock(mutex_);
  sources_.erase(key);
}

bool OutputPipes::wait(std::vector<Ready>& ready) {
  epoll_event events[kEventsAtOnce];
  int count = 0;
  do {
    count = ::epoll_wait(epoll_.get(), events, kEventsAtOnce, -1);
  } while (count < 0 && errno == EINTR);
  for (int i = 0; i < count; ++i) {
    if (events[i].data.u64 == kClosing) return false;
    ready.push_back(unpack(events[i].data.u64));
  }
  return count >= 0;
}

void OutputPipes::close() noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(closing_.get(), &one, sizeof one));
}

OutputPipes::Got OutputPipes::read(Ready from, std::span<std::byte> into, std::size_t& size) {
  const auto source = find(from.key);
  if (!source) return Got::end;
  bool is_last = false;
  {
    const std::lock_guard lock(source->mutex);
    const OwnedFd& fd = source->streams[from.stream];
    if (!fd) return Got::end;
    ssize_t got = 0;
    do {
      got = ::read(fd.get(), into.data(), into.size());
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
      size = static_cast<std::size_t>(got);
      return Got::bytes;
    }
    if (got < 0 && errno == EAGAIN) return Got::nothing;
    close(*source, from);
    is_last = std::none_of(source->streams.begin(), source->streams.end(),
                           [](const OwnedFd& one) { return static_cast<bool>(one); });
  }
  if (is_last) {
    const std::lock_guard lock(mutex_);
    sources_.erase(from.key);
  }
  return Got::end;
}

std::vector<std::uint64_t> OutputPipes::keys() {
  const std::lock_guard lock(mutex_);
  std::vector<std::uint64_t> keys;
  keys.reserve(sources_.size());
  for (const auto& [key, source] : sources_) keys.push_back(key);
  return keys;
}

bool OutputPipes::is_open(std::uint64_t key) { return find(key) != nullptr; }

void OutputPipes::forked_child() noexcept { fds_.close_all(); }

std::shared_ptr<OutputPipes::Source> OutputPipes::find(std::uint64_t key) {
  const std::lock_guard lock(mutex_);
  const auto found = sources_.find(key);
  return found == sources_.end() ? nullptr : found->second;
}

void OutputPipes::close(Source& source, Ready which) {
  OwnedFd& fd = source.streams[which.stream];
  if (!fd) return;
  // By hand: a copy of the descriptor in a forked child would keep it in the epoll.
  static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr));
  fd.reset();
}

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/control_sender.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace owngil::runtime {
namespace {

bool is_for_later(int error) {
  // ETOOMANYREFS: as many descriptors are under way as this user may have open.
  return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS;
}

bool is_peer_gone(int error) { return error == EPIPE || error == ECONNRESET || error == ENOTCONN; }

}  // namespace

ControlSender::Sent ControlSender::send(const ipc::ControlHeader& header, std::span<const int> fds,
                                        std::string_view text) {
  if (kept_.empty()) {
    const int error = ipc::send_control(socket_, header, text, fds);
    if (error == 0) return Sent::all;
    if (is_peer_gone(error)) return Sent::peer_gone;
    if (!is_for_later(error)) throw std::system_error(error, std::system_category(), "sendmsg");
  }
  Kept kept{header, {}, std::string(text)};
  for (const int fd : fds) {
    kept.fds.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!kept.fds.back()) throw std::system_error(errno, std::system_category(), "dup");
  }
  kept_.push_back(std::move(kept));
  return Sent::kept;
}

ControlSender::Sent ControlSender::flush() noexcept {
  while (!kept_.empty()) {
    const Kept& next = kept_.front();
    std::array<int, ipc::kMaxPassedFds> fds{};
    for (std::size_t i = 0; i < next.fds.size(); ++i) fds[i] = next.fds[i].get();
    const int error =
        ipc::send_control(socket_, next.header, next.text, std::span(fds).first(next.fds.size()));
    if (is_for_later(error)) return Sent::kept;
    if (is_peer_gone(error)) return Sent::peer_gone;
    kept_.pop_front();
  }
  return Sent::all;
}

}  // namespace owngil::runtime

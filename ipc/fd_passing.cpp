// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/fd_passing.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace owngil::ipc {

SocketPair create_socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    throw std::system_error(errno, std::system_category(), "socketpair");
  }
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

int send_control(int socket, ControlHeader header, std::string_view text,
                 std::span<const int> fds) noexcept {
  text = text.substr(0, kControlTextBytes);
  header.text_size = static_cast<std::uint32_t>(text.size());
  iovec parts[2] = {{&header, sizeof header}, {const_cast<char*>(text.data()), text.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = text.empty() ? 1 : 2;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxPassedFds * sizeof(int))> control{};
  if (fds.size() > kMaxPassedFds) return EINVAL;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

Receive receive_control(int socket, ControlMessage& message) {
  message = {};
  std::array<char, kControlTextBytes> text;
  iovec parts[2] = {{&message.header, sizeof message.header}, {text.data(), text.size()}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxPassedFds * sizeof(int))> control;
  msghdr envelope{};
  envelope.msg_iov = parts;
  envelope.msg_iovlen = 2;
  envelope.msg_control = control.data();
  envelope.msg_controllen = control.size();
  ssize_t size = 0;
  do {
    size = ::recvmsg(socket, &envelope, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    return errno == EAGAIN || errno == EWOULDBLOCK ? Receive::nothing : Receive::closed;
  }
  for (cmsghdr* part = CMSG_FIRSTHDR(&envelope); part != nullptr;
       part = CMSG_NXTHDR(&envelope, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    message.fds.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      message.fds.emplace_back(fd);
    }
  }
  message.fds_lost = (envelope.msg_flags & MSG_CTRUNC) != 0;
  const auto bytes = static_cast<std::size_t>(size);
  if (bytes < sizeof message.header || message.header.text_size != bytes - sizeof message.header) {
    return Receive::closed;
  }
  message.text.assign(text.data(), message.header.text_size);
  return Receive::got;
}

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
// One control message over a SEQPACKET socket, with descriptors beside it.
//
// Threads: any; a datagram goes and comes whole. Never blocks and never raises SIGPIPE.
// Lifetime: descriptors to be sent are borrowed; those received belong to the message.
// Not: a queue. What does not fit now is the caller's to send again.
#pragma once

#include "ipc/control_protocol.hpp"
#include "ipc/unique_fd.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace owngil::ipc {

// Both ends close on exec. Throws std::system_error.
struct SocketPair {
  UniqueFd ours;
  UniqueFd theirs;
};
[[nodiscard]] SocketPair create_socket_pair();

// 0, or errno. Text beyond kControlTextBytes is cut off.
[[nodiscard]] int send_control(int socket, ControlHeader header, std::string_view text = {},
                               std::span<const int> fds = {}) noexcept;

struct ControlMessage {
  ControlHeader header;
  std::string text;
  std::vector<UniqueFd> fds;
  bool fds_lost = false;  // this process had no room for all descriptors
};

enum class Receive { got, nothing, closed };

// `nothing`: no message now. `closed`: the peer is gone, or has sent what is no message.
[[nodiscard]] Receive receive_control(int socket, ControlMessage& message);

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
// Sends control messages in order, and keeps those that the socket has no room for.
//
// Threads: under its owner's mutex. Never blocks.
// Lifetime: borrows the socket. Copies descriptors only of a message that has to wait.
// Not: a timer. Its owner calls flush() until nothing is kept.
#pragma once

#include "ipc/fd_passing.hpp"
#include "ipc/unique_fd.hpp"

#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace owngil::runtime {

class ControlSender {
 public:
  explicit ControlSender(int socket) noexcept : socket_(socket) {}

  enum class Sent { all, kept, peer_gone };

  // Throws std::system_error if it has to keep the message and cannot copy a descriptor, or if
  // the kernel refuses the message for good.
  Sent send(const ipc::ControlHeader& header, std::span<const int> fds, std::string_view text = {});
  // A message that the kernel refuses for good is dropped, and its descriptors closed.
  Sent flush() noexcept;

 private:
  struct Kept {
    ipc::ControlHeader header;
    std::vector<ipc::UniqueFd> fds;
    std::string text;
  };

  int socket_;
  std::deque<Kept> kept_;
};

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// A program's arguments and environment as one memfd, however long they are.
//
// Processes: written by the user's process, read by the guardian.
// Not: validated against a hostile writer; both are the same build and the same user.
#pragma once

#include "ipc/unique_fd.hpp"

#include <span>
#include <string>
#include <vector>

namespace owngil::runtime {

// A memfd that holds `bytes`. Throws std::system_error.
[[nodiscard]] ipc::UniqueFd write_block(const char* name, std::span<const char> bytes);

[[nodiscard]] std::string encode_command(const std::vector<std::string>& argv,
                                         const std::vector<std::string>& env);

// Pointers as execve wants them, into bytes that it owns.
class Command {
 public:
  // Throws std::system_error; std::runtime_error if the bytes are not a command.
  explicit Command(int fd);

  [[nodiscard]] char* const* argv() const noexcept { return pointers_.data(); }
  [[nodiscard]] char* const* env() const noexcept { return pointers_.data() + env_at_; }

 private:
  std::string bytes_;
  std::vector<char*> pointers_;  // argv, nullptr, env, nullptr
  std::size_t env_at_ = 0;
};

}  // namespace owngil::runtime

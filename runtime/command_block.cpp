// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/command_block.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace owngil::runtime {
namespace {

[[noreturn]] void fail(const char* call) {
  throw std::system_error(errno, std::system_category(), call);
}

}  // namespace

ipc::UniqueFd write_block(const char* name, std::span<const char> bytes) {
  ipc::UniqueFd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd) fail("memfd_create");
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t written =
        ::pwrite(fd.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (written < 0 && errno != EINTR) fail("write to a memfd");
    if (written > 0) done += static_cast<std::size_t>(written);
  }
  return fd;
}

// The number of arguments, then every string with the zero that ends it.
std::string encode_command(const std::vector<std::string>& argv,
                           const std::vector<std::string>& env) {
  const auto count = static_cast<std::uint32_t>(argv.size());
  std::string bytes(reinterpret_cast<const char*>(&count), sizeof count);
  for (const auto* const strings : {&argv, &env}) {
    for (const std::string& one : *strings) bytes.append(one.c_str(), one.size() + 1);
  }
  return bytes;
}

Command::Command(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) fail("fstat");
  bytes_.resize(static_cast<std::size_t>(info.st_size));
  for (std::size_t done = 0; done < bytes_.size();) {
    const ssize_t got =
        ::pread(fd, bytes_.data() + done, bytes_.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail("read from a memfd");
    done += static_cast<std::size_t>(got);
  }
  std::uint32_t count = 0;
  if (bytes_.size() <= sizeof count || bytes_.back() != '\0') {
    throw std::runtime_error("not a command");
  }
  std::memcpy(&count, bytes_.data(), sizeof count);
  for (std::size_t at = sizeof count; at < bytes_.size(); at += std::strlen(&bytes_[at]) + 1) {
    if (pointers_.size() == count) pointers_.push_back(nullptr);
    pointers_.push_back(&bytes_[at]);
  }
  if (pointers_.size() < count || count == 0) throw std::runtime_error("not a command");
  if (pointers_.size() == count) pointers_.push_back(nullptr);  // no environment at all
  env_at_ = count + std::size_t{1};
  pointers_.push_back(nullptr);
}

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/memfd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010  // Linux 5.1; older headers lack it
#endif

namespace owngil::ipc {
namespace {

[[noreturn]] void fail(const char* call) {
  throw std::system_error(errno, std::generic_category(), call);
}

}  // namespace

UniqueFd create_memfd(const char* name, std::size_t size) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) {
    fail("memfd_create");
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
    fail("ftruncate of a memfd");
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    fail("fcntl(F_ADD_SEALS)");
  }
  return fd;
}

void seal_against_new_writers(int fd) {
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0) {
    fail("fcntl(F_ADD_SEALS, F_SEAL_FUTURE_WRITE)");
  }
}

UniqueFd open_for_reading(int fd) {
  if (::fchmod(fd, S_IRUSR) != 0) {
    fail("fchmod of a memfd");
  }
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!reader) {
    fail("open of a memfd in /proc/self/fd");
  }
  return reader;
}

FileId file_id(int fd) noexcept {
  struct stat info{};
  if (::fstat(fd, &info) != 0) {
    return {};
  }
  return {info.st_dev, info.st_ino};
}

bool commit(int fd, std::size_t offset, std::size_t size) {
  if (size == 0) return true;
  while (::fallocate(fd, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(size)) != 0) {
    if (errno == ENOSPC || errno == ENOMEM || errno == EBADF) {
      return false;
    }
    if (errno != EINTR) {
      fail("fallocate of a memfd");
    }
  }
  return true;
}

std::uint64_t committed(int fd) noexcept {
  constexpr std::uint64_t kBlockBytes = 512;  // stat(2), whatever the file system
  struct stat status;
  return ::fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * kBlockBytes : 0;
}

void decommit(int fd, std::size_t offset, std::size_t size) noexcept {
  // Failure leaves the pages where they are, which harms nobody.
  static_cast<void>(::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(offset), static_cast<off_t>(size)));
}

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
// Memory without a name: the one kind of object that processes share here.
//
// Threads: any. Processes: a memfd travels by inheritance or SCM_RIGHTS.
// Lifetime: the kernel frees the pages with the last descriptor and mapping, whoever is killed.
// Not: shm_open. Nothing appears in /dev/shm, so nothing can be left behind there.
#pragma once

#include "ipc/unique_fd.hpp"

#include <cstddef>
#include <cstdint>

namespace owngil::ipc {

// A sparse memfd of exactly `size` bytes, closed on exec and sealed against shrinking and
// growing, so that no peer can turn a load from it into a SIGBUS.
// Throws std::system_error naming the call that failed.
[[nodiscard]] UniqueFd create_memfd(const char* name, std::size_t size);

// From now on the memory can be mapped for reading only; mappings that exist keep their rights.
// Nobody can give pages of it back any more, either.
// Requires: whoever is to write has mapped it. Throws std::system_error.
void seal_against_new_writers(int fd);

// Another descriptor of the file, by which it can be read only, and mapped for that. From now on
// nobody but root can open the file for writing. It takes /proc. Throws std::system_error.
[[nodiscard]] UniqueFd open_for_reading(int fd);

// Which file a descriptor stands for, wherever its number came from.
struct FileId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  bool operator==(const FileId&) const = default;
};
[[nodiscard]] FileId file_id(int fd) noexcept;  // of a closed one: zeros

// Backs the range with pages, so that a lack of memory is an answer here and not a SIGBUS
// later. False: there is no memory, or no descriptor. Throws std::system_error for anything else.
[[nodiscard]] bool commit(int fd, std::size_t offset, std::size_t size);

// How many bytes of it are backed with pages.
[[nodiscard]] std::uint64_t committed(int fd) noexcept;

// Gives the pages of the range back; it reads as zeros afterwards.
void decommit(int fd, std::size_t offset, std::size_t size) noexcept;

}  // namespace owngil::ipc

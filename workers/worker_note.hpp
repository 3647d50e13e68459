// SPDX-License-Identifier: BSD-3-Clause
// What a worker of a host tells the user in words, each text once in the life of the process.
//
// Threads: any of the process, with or without a GIL.
// Processes: on the socket that the worker came with, which the user's process reads until its end.
// Lifetime: the socket is its host's. A task may close it, and another file may get its number, so
//   it is known by more than that.
// Not: the template's notes, which has a socket of its own; see template.hpp.
#pragma once

#include "ipc/memfd.hpp"

#include <string>

namespace owngil::workers {

// Zeros: this interpreter is no worker of a host.
struct NoteSocket {
  int fd;
  ipc::FileId file;
};

[[nodiscard]] NoteSocket note_socket(int fd) noexcept;

// Throws std::bad_alloc.
void note_once(const NoteSocket& socket, const std::string& text);

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
#include "workers/worker_note.hpp"

#include "ipc/fd_passing.hpp"

#include <mutex>
#include <set>

namespace owngil::workers {
namespace {

// The interpreters of a host have nothing in common but the process.
std::mutex mutex;
std::set<std::string>& told() {
  static std::set<std::string> texts;
  return texts;
}

}  // namespace

NoteSocket note_socket(int fd) noexcept { return {fd, ipc::file_id(fd)}; }

void note_once(const NoteSocket& socket, const std::string& text) {
  if (socket.file == ipc::FileId{} || ipc::file_id(socket.fd) != socket.file) return;
  const std::lock_guard lock(mutex);
  if (!told().insert(text).second) return;
  static_cast<void>(ipc::send_control(socket.fd, {.verb = ipc::Verb::note}, text));
}

}  // namespace owngil::workers

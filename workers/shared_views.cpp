// SPDX-License-Identifier: BSD-3-Clause
#include "workers/shared_views.hpp"

#include "ipc/memfd.hpp"
#include "ipc/unique_fd.hpp"

#include <fcntl.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

namespace owngil::workers {
namespace {

constexpr std::size_t kKeptUnused = 64;

ipc::Mapping map(ipc::BlockRef name, const ipc::SharedPlace& place) {
  const std::string path = "/proc/" + std::to_string(place.pid) + "/fd/" + std::to_string(place.fd);
  const ipc::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const int error = file ? ESTALE : errno;
  if (!file || ipc::file_id(file.get()) != ipc::FileId{place.device, place.inode}) {
    throw std::system_error(error, std::generic_category(), "shared data, by " + path);
  }
  return {file.get(),
          name.size,
          ipc::Access::read_only,
          ipc::OnFork::inherit,
          ipc::OnCoreDump::exclude,
          place.offset};
}

}  // namespace

std::byte* SharedViews::open(ipc::BlockRef name, const ipc::SharedPlace& place) {
  auto found = views_.find(name.offset);
  if (found == views_.end()) {
    keep_unused(kKeptUnused);
    found = views_.emplace(name.offset, View{map(name, place)}).first;
  } else if (found->second.users == 0) {
    --unused_;
  }
  ++found->second.users;
  return found->second.memory.data();
}

void SharedViews::close(std::uint64_t name) noexcept {
  View& view = views_.find(name)->second;
  if (--view.users != 0) return;
  view.closed = ++closed_;
  ++unused_;
}

// The longest unused go first.
void SharedViews::keep_unused(std::size_t count) noexcept {
  for (; unused_ > count; --unused_) {
    auto oldest = views_.end();
    for (auto view = views_.begin(); view != views_.end(); ++view) {
      if (view->second.users == 0 &&
          (oldest == views_.end() || view->second.closed < oldest->second.closed)) {
        oldest = view;
      }
    }
    views_.erase(oldest);
  }
}

}  // namespace owngil::workers

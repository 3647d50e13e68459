// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/shared_block.hpp"

#include "ipc/memfd.hpp"

#include <unistd.h>

namespace owngil::runtime {
namespace {

std::uint64_t next_number() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;  // unlike all others, and that is all
}

}  // namespace

SharedBlock::SharedBlock(int fd, ipc::BlockRef range)
    : memory_(fd, range.size, ipc::Access::read_only, ipc::OnFork::inherit,
              ipc::OnCoreDump::exclude, range.offset),
      name_{ipc::kShared | next_number(), range.size} {
  const ipc::FileId file = ipc::file_id(fd);
  place_ = {file.device, file.inode, range.offset, static_cast<std::uint32_t>(::getpid()),
            static_cast<std::uint32_t>(fd)};
}

}  // namespace owngil::runtime

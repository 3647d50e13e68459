// SPDX-License-Identifier: BSD-3-Clause
#include "workers/reply.hpp"

#include <cstring>

namespace owngil::workers {

bool Reply::set(ipc::Status status, ipc::Format format, std::span<const std::byte> bytes,
                std::uint8_t flags) {
  if (bytes.size() <= ipc::kInlineBytes) {
    fill(status, format, ipc::Where::inline_bytes, 1, flags);
    slot_.size = static_cast<std::uint32_t>(bytes.size());
    if (!bytes.empty()) std::memcpy(slot_.bytes, bytes.data(), bytes.size());
    return true;
  }
  const auto block = memory_.allocate(bytes.size());
  if (!block) return false;
  std::memcpy(memory_.at(block->offset), bytes.data(), bytes.size());
  fill(status, format, ipc::Where::block, 1, flags);
  slot_.block = {block->offset, bytes.size()};
  return true;
}

void Reply::set_untold_failure() {
  fill(ipc::Status::raised, ipc::Format::none, ipc::Where::inline_bytes, 1);
}

void Reply::close_items() {
  fill(ipc::Status::chunk, ipc::Format::none, ipc::Where::block, items_.done());
  slot_.block = items_.first();
}

void Reply::fill(ipc::Status status, ipc::Format format, ipc::Where where, std::uint32_t count,
                 std::uint8_t flags) {
  slot_.size = 0;
  slot_.count = count;
  slot_.status = status;
  slot_.format = format;
  slot_.where = where;
  slot_.flags = flags;
  slot_.reserved = 0;
}

}  // namespace owngil::workers

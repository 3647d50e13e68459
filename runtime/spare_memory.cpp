// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/spare_memory.hpp"

namespace owngil::runtime {

void SpareMemory::look(std::uint64_t now) {
  if (now < due_ns_) return;
  const std::uint64_t used = arena_.in_use();
  const std::uint64_t before = arena_.committed();
  if (const std::uint64_t unused = spare(std::max(most_, used)); unused > 0) {
    arena_.trim(before - used - std::min(unused, kStep));
    if (arena_.committed() < before) {
      due_ns_ = now + kPauseNs;
      return;
    }
  }
  // What a worker holds in between may stand in the way, or the descriptor may be gone: the next
  // block that is freed brings the next look, unless there was use that may end.
  due_ns_ = most_ > used && spare(used) > 0 ? now + kUnusedNs : ipc::kForever;
  most_ = used;
}

}  // namespace owngil::runtime

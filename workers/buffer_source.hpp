// SPDX-License-Identifier: BSD-3-Clause
// The buffers that came apart from an encoding, one after the other.
//
// Threads: needs the GIL.
// Lifetime: one decoding; what it has given out may outlive it.
// Not: a judge of what they are for; the decoder says how large the next one must be.
#pragma once

#include "workers/python.hpp"

#include <cstddef>

namespace owngil::workers {

class BufferSource {
 public:
  // The next one's bytes, which are `size`. False: an exception is set.
  [[nodiscard]] virtual bool copy_next(void* to, std::size_t size) noexcept = 0;
  // The next one itself, of `size` bytes, as a writable memoryview. None: an exception is set.
  [[nodiscard]] virtual Ref take_next(std::size_t size) noexcept = 0;

 protected:
  ~BufferSource() = default;
};

}  // namespace owngil::workers

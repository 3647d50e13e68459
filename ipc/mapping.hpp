// SPDX-License-Identifier: BSD-3-Clause
// A memfd mapped into this process; Boost.Interprocess does the mapping.
//
// Threads: as any value; what lies in the memory has rules of its own.
// Lifetime: unmaps when it goes. The descriptor may be closed while the mapping lives.
// Not: an owner of the objects in the memory; no constructor or destructor is run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace boost::interprocess {
class mapped_region;
}

namespace owngil::ipc {

// `copy_on_write`: what is written stays this process's own. No memory is set aside for that.
enum class Access { read_write, read_only, copy_on_write };

// What a fork of this process does with the mapping. `exclude` (MADV_DONTFORK) is for memory
// that a task's own child processes must not be able to write to.
enum class OnFork { inherit, exclude };

// Whether a core dump of this process has the mapping. One that includes it has all of its address
// space, as the kernel backs every hole of a file to write it: `exclude` (MADV_DONTDUMP) is for
// whatever is large.
enum class OnCoreDump { include, exclude };

class Mapping {
 public:
  // Maps `size` bytes from `offset` on. Throws std::system_error naming the call that failed.
  Mapping(int fd, std::size_t size, Access access, OnFork on_fork = OnFork::inherit,
          OnCoreDump on_core_dump = OnCoreDump::include, std::uint64_t offset = 0);
  Mapping(Mapping&&) noexcept;
  Mapping& operator=(Mapping&&) noexcept;
  ~Mapping();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  // Unmaps all but the first `size` bytes, rounded up to whole pages; at least one stays.
  void shrink(std::size_t size) noexcept;

  // Requires: the memory holds a T at its start. All zeros are a T for all of layout.hpp.
  template <class T>
  [[nodiscard]] T& as() const noexcept {
    return *reinterpret_cast<T*>(data_);
  }

 private:
  void advise(int advice, const char* call) const;

  std::unique_ptr<boost::interprocess::mapped_region> region_;
  std::byte* data_;
  std::size_t size_;
};

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/mapping.hpp"

#include "ipc/layout.hpp"

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace owngil::ipc {
namespace {

namespace bip = boost::interprocess;

// What mapped_region asks of a "memory mappable": nothing but the descriptor.
class Mappable {
 public:
  explicit Mappable(int fd) noexcept : handle_{fd, false} {}
  [[nodiscard]] bip::mapping_handle_t get_mapping_handle() const noexcept { return handle_; }

 private:
  bip::mapping_handle_t handle_;
};

// Where huge pages of the file could be mapped as such, if nothing takes the place meanwhile;
// nullptr: the system is to choose.
void* good_place(std::uint64_t offset, std::size_t size) {
  if (size < kHugePage) return nullptr;
  void* const free = ::mmap(nullptr, size + 2 * kHugePage, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (free == MAP_FAILED) return nullptr;
  ::munmap(free, size + 2 * kHugePage);
  const auto begin = reinterpret_cast<std::uintptr_t>(free);
  return reinterpret_cast<void*>((begin + kHugePage - 1) / kHugePage * kHugePage +
                                 offset % kHugePage);
}

std::unique_ptr<bip::mapped_region> map_at(void* place, int fd, std::uint64_t offset,
                                           std::size_t size, Access access) {
  const auto begin = static_cast<bip::offset_t>(offset);
  switch (access) {
    case Access::read_write:
      return std::make_unique<bip::mapped_region>(Mappable(fd), bip::read_write, begin, size,
                                                  place);
    case Access::read_only:
      return std::make_unique<bip::mapped_region>(Mappable(fd), bip::read_only, begin, size, place);
    case Access::copy_on_write: break;
  }
  return std::make_unique<bip::mapped_region>(Mappable(fd), bip::copy_on_write, begin, size, place,
                                              MAP_NORESERVE);
}

std::unique_ptr<bip::mapped_region> map(int fd, std::uint64_t offset, std::size_t size,
                                        Access access) {
  if (void* const place = good_place(offset, size)) {
    try {
      return map_at(place, fd, offset, size, access);
    } catch (const bip::interprocess_exception&) {
      // It is taken.
    }
  }
  try {
    return map_at(nullptr, fd, offset, size, access);
  } catch (const bip::interprocess_exception& error) {
    throw std::system_error(error.get_native_error(), std::generic_category(), "mmap of a memfd");
  }
}

}  // namespace

Mapping::Mapping(int fd, std::size_t size, Access access, OnFork on_fork, OnCoreDump on_core_dump,
                 std::uint64_t offset)
    : region_(map(fd, offset, size, access)),
      data_(static_cast<std::byte*>(region_->get_address())),
      size_(size) {
  if (on_fork == OnFork::exclude) advise(MADV_DONTFORK, "madvise(MADV_DONTFORK)");
  if (on_core_dump == OnCoreDump::exclude) advise(MADV_DONTDUMP, "madvise(MADV_DONTDUMP)");
}

// Of its whole pages: what was asked for may begin in the middle of one.
void Mapping::advise(int advice, const char* call) const {
  const std::size_t before =
      reinterpret_cast<std::uintptr_t>(data_) % bip::mapped_region::get_page_size();
  if (::madvise(data_ - before, before + size_, advice) != 0) {
    throw std::system_error(errno, std::generic_category(), call);
  }
}

Mapping::Mapping(Mapping&& other) noexcept
    : region_(std::move(other.region_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  region_ = std::move(other.region_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

void Mapping::shrink(std::size_t size) noexcept {
  const std::size_t page = bip::mapped_region::get_page_size();
  const std::size_t kept = std::max(page, (size + page - 1) / page * page);
  if (kept < size_ && region_->shrink_by(size_ - kept)) size_ = kept;
}

Mapping::~Mapping() = default;

}  // namespace owngil::ipc

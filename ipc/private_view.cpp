// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/private_view.hpp"

#include "ipc/unique_fd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace owngil::ipc {
namespace {

// Up to here it costs less to map all pages anew than to ask which were written.
constexpr std::size_t kNotWorthAsking = std::size_t{256} * 1024;

// An entry of /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst).
bool was_written(std::uint64_t entry) noexcept {
  constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
  constexpr std::uint64_t kSwapped = std::uint64_t{1} << 62;
  constexpr std::uint64_t kOfFile = std::uint64_t{1} << 61;
  return (entry & (kPresent | kSwapped)) != 0 && (entry & kOfFile) == 0;
}

void drop(std::byte* begin, std::byte* end) noexcept {
  if (begin != end) {
    ::madvise(begin, static_cast<std::size_t>(end - begin), MADV_DONTNEED);
  }
}

// Calls visit(page, entry) for the pages from `at` on, in their order, while that returns true.
// Returns the first page that it was not called for: `end`, unless it is not to be known.
template <class Visit>
std::byte* visit_pages(std::byte* at, std::byte* end, Visit&& visit) noexcept {
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  std::array<std::uint64_t, 4096> entries;
  while (pagemap && at != end) {
    const std::size_t asked =
        std::min(entries.size(), static_cast<std::size_t>(end - at) / kPageBytes);
    const auto place = reinterpret_cast<std::uintptr_t>(at) / kPageBytes * sizeof entries[0];
    const ssize_t got = ::pread(pagemap.get(), entries.data(), asked * sizeof entries[0],
                                static_cast<off_t>(place));
    const std::size_t told = got > 0 ? static_cast<std::size_t>(got) / sizeof entries[0] : 0;
    if (told == 0) break;
    for (std::size_t i = 0; i != told; ++i, at += kPageBytes) {
      if (!visit(at, entries[i])) return at;
    }
  }
  return at;
}

}  // namespace

bool has_own_pages(const std::byte* data, std::size_t size) noexcept {
  const std::size_t before = reinterpret_cast<std::uintptr_t>(data) % kPageBytes;
  auto* const begin = const_cast<std::byte*>(data) - before;
  std::byte* const end = begin + whole_pages(before + size);
  return visit_pages(begin, end,
                     [](std::byte*, std::uint64_t entry) { return !was_written(entry); }) != end;
}

// Pages that were only read stay mapped, so that the next who reads there meets no fault.
void PrivateView::forget_writes(BlockRef block) const noexcept {
  std::byte* at = mapping_.data() + block.offset;
  const std::size_t size = whole_pages(block.size);
  std::byte* const end = at + size;
  if (size > kNotWorthAsking) {
    std::byte* written = at;  // where a run of written pages begins
    at = visit_pages(at, end, [&](std::byte* page, std::uint64_t entry) {
      if (!was_written(entry)) {
        drop(written, page);
        written = page + kPageBytes;
      }
      return true;
    });
    drop(written, std::max(written, at));
  }
  drop(at, end);
}

}  // namespace owngil::ipc

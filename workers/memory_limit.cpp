// SPDX-License-Identifier: BSD-3-Clause
#include "workers/memory_limit.hpp"

#include "ipc/unique_fd.hpp"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

namespace owngil::workers {
namespace {

// Looking takes at most one part in so many of the time.
constexpr std::uint64_t kShareOfTime = 100;
// The limit is overstepped by at most one part in so many before the exact look notices.
constexpr std::uint64_t kShareOfLimit = 32;

// Not the time that passes: who is put aside in the middle of a look would look too seldom.
std::uint64_t cpu_ns() noexcept {
  timespec t;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

// Opened anew each time: a task may close every descriptor that it finds.
template <std::size_t Size>
std::string_view read_file(const char* path, char (&buffer)[Size]) noexcept {
  const ipc::UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  const ssize_t size = file ? ::read(file.get(), buffer, Size) : -1;
  return size > 0 ? std::string_view(buffer, static_cast<std::size_t>(size)) : std::string_view();
}

std::uint64_t number_after(std::string_view text, std::string_view label) noexcept {
  const std::size_t found = text.find(label);
  if (found == std::string_view::npos) return 0;
  const std::size_t begin = text.find_first_not_of(' ', found + label.size());
  if (begin == std::string_view::npos) return 0;
  std::uint64_t number = 0;
  std::from_chars(text.data() + begin, text.data() + text.size(), number);
  return number;
}

// The second number is the resident pages.
std::uint64_t resident_bytes() noexcept {
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  char buffer[256];
  return number_after(read_file("/proc/self/statm", buffer), " ") * page;
}

std::uint64_t private_bytes() noexcept {
  char buffer[4096];
  const std::string_view text = read_file("/proc/self/smaps_rollup", buffer);
  constexpr std::uint64_t kKib = 1024;
  return (number_after(text, "Private_Clean:") + number_after(text, "Private_Dirty:") +
          number_after(text, "Private_Hugetlb:")) *
         kKib;
}

}  // namespace

MemoryReader memory_of_this_process() noexcept { return {resident_bytes, private_bytes}; }

bool MemoryLimit::is_exceeded(std::uint64_t now_ns) noexcept {
  const std::uint64_t begun_ns = cpu_ns();
  const std::uint64_t resident = reader_.resident();
  next_look_ns_ = now_ns + (cpu_ns() - begun_ns) * kShareOfTime;
  if (resident <= limit_) return false;
  return (now_ns >= next_exact_ns_ || resident >= exact_from_) && look_exactly(resident, now_ns);
}

bool MemoryLimit::look_exactly(std::uint64_t resident, std::uint64_t now_ns) noexcept {
  const std::uint64_t begun_ns = cpu_ns();
  const std::uint64_t bytes = reader_.exactly_private();
  if (bytes > limit_) return true;
  next_exact_ns_ = now_ns + (cpu_ns() - begun_ns) * kShareOfTime;
  exact_from_ = resident + std::max(limit_ - bytes, limit_ / kShareOfLimit);
  return false;
}

}  // namespace owngil::workers

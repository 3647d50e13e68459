// SPDX-License-Identifier: BSD-3-Clause
#include "workers/fork_orphan.hpp"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <system_error>

// The thread's area for restartable sequences, from glibc 2.35 on. Its size is 0 if the kernel
// does not know of it.
extern "C" {
[[gnu::weak]] extern const std::ptrdiff_t __rseq_offset;
[[gnu::weak]] extern const unsigned int __rseq_size;
}

namespace owngil::workers {
namespace {

constexpr unsigned kRseqSmallest = 32;
// RSEQ_SIG of glibc: what stands before the code that an interrupted sequence goes on with.
#if defined(__x86_64__)
constexpr unsigned kRseqSignature = 0x53053053;
#elif defined(__aarch64__)
constexpr unsigned kRseqSignature = 0xd428bc00;
#endif
constexpr std::uint32_t kRseqUnregistered = static_cast<std::uint32_t>(-2);
constexpr std::size_t kRseqCpu = 4;  // offset of the CPU's number, which readers believe

// A process that borrows memory has no such area in the kernel, and neither has its child, though
// the area says otherwise. Without glibc nobody can tell whose area that is.
bool can_borrow() { return &__rseq_size != nullptr && __rseq_size != 0; }

void register_rseq() {
  auto* const area = static_cast<std::byte*>(__builtin_thread_pointer()) + __rseq_offset;
  const unsigned size = __rseq_size > kRseqSmallest ? __rseq_size : kRseqSmallest;
  if (::syscall(SYS_rseq, area, size, 0, kRseqSignature) == 0 || errno == EBUSY) return;
  *reinterpret_cast<volatile std::uint32_t*>(area + kRseqCpu) = kRseqUnregistered;
}

}  // namespace

bool fork_orphan() {
  const pid_t between = can_borrow() ? ::vfork() : ::fork();
  if (between == 0) {
    ::setpgid(0, 0);
    const pid_t orphan = ::fork();
    if (orphan == 0) {
      if (can_borrow()) register_rseq();
      return true;  // on a copy of this stack
    }
    ::_exit(orphan < 0 ? errno : EXIT_SUCCESS);
  }
  if (between < 0) throw std::system_error(errno, std::system_category(), "fork");
  int status = 0;
  while (::waitpid(between, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) return false;
  throw std::system_error(WIFEXITED(status) ? WEXITSTATUS(status) : EINTR, std::system_category(),
                          "fork");
}

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/gil/sampler.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <string>
#include <utility>

namespace owngil::gil {

namespace {

constexpr std::size_t kMostSlices = 1'000'000;
constexpr int kSamplesBetweenScans = 64;  // for threads that are new

std::int64_t clock_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

// The threads of this process, each with its open /proc file that says in which system call it is.
class Sampler::Threads {
 public:
  explicit Threads(const owngil_gil_view& view) : view_(view) { scan(); }
  ~Threads() {
    for (const auto& [thread, fd] : files_) ::close(fd);
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  [[nodiscard]] bool sees_waiters() const { return sees_waiters_; }

  // Calls `found(thread)` for each thread that waits for the GIL.
  template <typename Found>
  void for_each_waiter(Found found) {
    if (++samples_ % kSamplesBetweenScans == 0) scan();
    for (auto file = files_.begin(); file != files_.end();) {
      char text[160];
      const ssize_t size = ::pread(file->second, text, sizeof text - 1, 0);
      if (size <= 0) {  // the thread is gone
        ::close(file->second);
        file = files_.erase(file);
        continue;
      }
      text[size] = '\0';
      sees_waiters_ = true;
      if (waits(text)) found(file->first);
      ++file;
    }
  }

 private:
  // "NUMBER ARGUMENT…", or "running".
  [[nodiscard]] bool waits(const char* text) const {
    if (std::isdigit(static_cast<unsigned char>(text[0])) == 0) return false;
    char* end = nullptr;
    if (std::strtol(text, &end, 10) != SYS_futex) return false;
    const auto address = static_cast<std::uintptr_t>(std::strtoull(end, nullptr, 16));
    const auto begin = reinterpret_cast<std::uintptr_t>(view_.begin);
    return address >= begin && address < begin + view_.size_bytes;
  }

  void scan() {
    DIR* folder = ::opendir("/proc/self/task");
    if (folder == nullptr) return;
    const pid_t self = ::gettid();
    while (const dirent* entry = ::readdir(folder)) {
      const int thread = std::atoi(entry->d_name);
      if (thread == 0 || thread == self || files_.contains(thread)) continue;
      const std::string path = "/proc/self/task/" + std::string(entry->d_name) + "/syscall";
      const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
      if (fd >= 0) files_.emplace(thread, fd);
    }
    ::closedir(folder);
  }

  const owngil_gil_view& view_;
  std::map<int, int> files_;  // thread -> descriptor
  bool sees_waiters_ = false;
  int samples_ = 0;
};

Sampler::Sampler(const owngil_gil_view& view, std::int64_t interval_ns, bool keep_slices)
    : view_(view),
      interval_ns_(interval_ns),
      keep_slices_(keep_slices),
      first_switch_(*view.switch_number) {}

void Sampler::run(std::int64_t limit_ns) {
  Threads threads(view_);
  const std::int64_t end_ns = clock_ns(CLOCK_MONOTONIC) + limit_ns;
  std::int64_t cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  std::unique_lock lock(mutex_);
  std::int64_t now_ns = clock_ns(CLOCK_MONOTONIC);
  while (!stop_ && now_ns < end_ns) {
    sample(threads, now_ns);
    const std::int64_t cpu_now_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    found_.cpu_ns += cpu_now_ns - cpu_ns;
    cpu_ns = cpu_now_ns;
    stopping_.wait_for(lock, std::chrono::nanoseconds(interval_ns_));
    now_ns = clock_ns(CLOCK_MONOTONIC);
  }
  end_slices(now_ns + 1);
}

void Sampler::stop() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  stopping_.notify_all();
}

Sampled Sampler::take() {
  const std::lock_guard lock(mutex_);
  const unsigned long switches = *view_.switch_number;
  found_.switches = switches - first_switch_;
  first_switch_ = switches;
  return std::exchange(found_, Sampled{});
}

void Sampler::sample(Threads& threads, std::int64_t now_ns) {
  ++found_.samples;
  if (*view_.locked > 0) {
    ++found_.held;
    if (const int thread = holder(); thread != 0) {
      ++found_.holding[thread];
      continue_slice(thread, true, now_ns);
    }
  }
  bool any = false;
  threads.for_each_waiter([&](int thread) {
    any = true;
    ++found_.waiting[thread];
    continue_slice(thread, false, now_ns);
  });
  if (any) ++found_.waited_for;
  found_.sees_waiters = threads.sees_waiters();
  end_slices(now_ns);
}

void Sampler::continue_slice(int thread, bool holds, std::int64_t now_ns) {
  if (!keep_slices_) return;
  const auto [open, is_new] = open_.try_emplace({thread, holds}, Open{now_ns, now_ns});
  open->second.last_ns = now_ns;
}

// Ends those that were not continued at `now_ns`; they lasted until then, as far as one can see.
void Sampler::end_slices(std::int64_t now_ns) {
  for (auto open = open_.begin(); open != open_.end();) {
    if (open->second.last_ns == now_ns) {
      ++open;
      continue;
    }
    if (found_.slices.size() < kMostSlices) {
      found_.slices.push_back(
          {open->first.first, open->first.second, open->second.begin_ns, now_ns});
    } else {
      ++found_.dropped;
    }
    open = open_.erase(open);
  }
}

// The thread state may be freed at any moment, so the kernel reads it for us: it says EFAULT where
// we would crash. What it reads from freed memory is checked by whoever uses it: no such thread.
int Sampler::holder() const {
  const void* state = *view_.last_holder;
  if (state == nullptr) return 0;
  unsigned long thread = 0;
  iovec here{&thread, sizeof thread};
  iovec there{const_cast<char*>(static_cast<const char*>(state)) + view_.native_thread_id_offset,
              sizeof thread};
  if (::process_vm_readv(::getpid(), &here, 1, &there, 1, 0) != sizeof thread) return 0;
  return thread <= 0x7fffffffUL ? static_cast<int>(thread) : 0;
}

}  // namespace owngil::gil

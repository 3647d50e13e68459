// SPDX-License-Identifier: BSD-3-Clause
// What does a round trip between two processes cost that sleep on a futex, one every N ms?
//
// The least that a call to a sleeping worker needs: store, wake, be woken, load; twice. The caller
// sleeps between the calls. Left alone, the kernel puts both on one CPU, where a wake-up needs no
// interrupt; `apart` pins them to a CPU each, where a caller and a worker that both compute live.
// Answers are checked while the clock runs.
//
// Usage: paced_futex PAUSE_MS SECONDS [apart]
// Prints the time of every call in seconds, as a JSON list.
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace {

using Word = std::atomic<std::uint32_t>;

struct Memory {
  alignas(128) Word call{0};
  alignas(128) Word answer{0};
};

constexpr std::uint32_t kEnd = ~std::uint32_t{0};

void wake(Word& word) { ::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0); }

// Sleeps until the word is no longer `before`; returns what it is then.
std::uint32_t wait_beyond(Word& word, std::uint32_t before) {
  std::uint32_t value = 0;
  while ((value = word.load(std::memory_order_acquire)) == before) {
    ::syscall(SYS_futex, &word, FUTEX_WAIT, before, nullptr, nullptr, 0);
  }
  return value;
}

std::int64_t now_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

void sleep_until(std::int64_t ns) {
  const timespec time{ns / 1'000'000'000, ns % 1'000'000'000};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) != 0) {
  }
}

// Pins the calling process to the CPU of that index among those that it may use.
void pin(int index) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) && index-- == 0) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      ::sched_setaffinity(0, sizeof one, &one);
      return;
    }
  }
}

[[noreturn]] void serve(Memory& memory) {
  std::uint32_t last = 0;
  while ((last = wait_beyond(memory.call, last)) != kEnd) {
    memory.answer.store(last, std::memory_order_release);
    wake(memory.answer);
  }
  std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t pause_ns = argc >= 3 ? std::int64_t{1'000'000} * std::atoi(argv[1]) : 0;
  const double seconds = argc >= 3 ? std::atof(argv[2]) : 0;
  const bool apart = argc == 4 && std::strcmp(argv[3], "apart") == 0;
  if (pause_ns <= 0 || seconds <= 0 || argc != (apart ? 4 : 3)) {
    std::fprintf(stderr, "usage: paced_futex PAUSE_MS SECONDS [apart]\n");
    return 2;
  }
  void* shared =
      ::mmap(nullptr, sizeof(Memory), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) {
    std::perror("mmap");
    return 1;
  }
  auto& memory = *new (shared) Memory;
  const pid_t server = ::fork();
  if (server < 0) {
    std::perror("fork");
    return 1;
  }
  if (server == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (apart) pin(1);
    serve(memory);
  }
  if (apart) pin(0);

  std::vector<std::int64_t> times;
  const std::int64_t start = now_ns();
  const std::int64_t end = start + static_cast<std::int64_t>(seconds * 1e9);
  for (std::int64_t next = start; next < end; next += pause_ns) {
    sleep_until(next);
    const auto number = static_cast<std::uint32_t>(times.size() + 1);
    const std::int64_t begun = now_ns();
    memory.call.store(number, std::memory_order_release);
    wake(memory.call);
    if (wait_beyond(memory.answer, number - 1) != number) {
      std::fprintf(stderr, "paced_futex: a wrong answer\n");
      return 1;
    }
    times.push_back(now_ns() - begun);
  }
  memory.call.store(kEnd, std::memory_order_release);
  wake(memory.call);
  ::waitpid(server, nullptr, 0);

  const char* separator = "[";
  for (const std::int64_t time : times) {
    std::printf("%s%.9f", separator, static_cast<double>(time) * 1e-9);
    separator = ", ";
  }
  std::printf("]\n");
  return 0;
}

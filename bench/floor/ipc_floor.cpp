// SPDX-License-Identifier: BSD-3-Clause
// What do our ring and our channel cost over the least that two processes need?
//
// Two processes, pinned to a CPU each where there are two. Four questions, in ns a message:
//   round trip        one call at a time, both sides spin
//   stream            as many calls outstanding as there are slots, both sides spin
//   round trip asleep both sides sleep between messages: a bare futex ping-pong, against a worker
//                     that sleeps on its channel and a caller that sleeps on its bell
// The contestants take turns within each round. Answers are checked while the clock runs.
//
// Usage: ipc_floor [--rounds N] [--json FILE]
#include "contestants.hpp"
#include "figures.hpp"
#include "ipc/channel.hpp"
#include "ipc/clock.hpp"
#include "ipc/cpu_pause.hpp"
#include "ipc/futex.hpp"
#include "ipc/mapping.hpp"
#include "ipc/memfd.hpp"
#include "ipc/unique_fd.hpp"

#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

namespace owngil::bench {
namespace {

constexpr std::uint64_t kTripsPerBatch = 32;
constexpr std::uint64_t kBatches = 60;
constexpr std::uint64_t kStreamed = 20'000;
constexpr std::uint64_t kAsleepTrips = 30;

enum class Command : std::uint64_t { none, bare, rings, channel, bare_asleep, channel_asleep, end };

struct SleepyMemory {
  alignas(128) std::atomic<std::uint32_t> call;
  alignas(128) std::atomic<std::uint32_t> answer;
};

struct Memory {
  alignas(128) std::atomic<std::uint64_t> order;  // count << 8 | Command; writer: the caller
  alignas(128) std::atomic<std::uint64_t> done;   // orders carried out; writer: the server
  alignas(4096) Bare::Memory bare;
  alignas(4096) Rings::Memory rings;
  alignas(4096) Channel::Memory channel;
  alignas(4096) Channel::Memory sleepy_channel;
  alignas(4096) SleepyMemory sleepy;
};

void pin(unsigned cpu) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) {
    return;
  }
  unsigned seen = 0;
  for (int candidate = 0; candidate < CPU_SETSIZE; ++candidate) {
    if (CPU_ISSET(candidate, &allowed) && seen++ == cpu) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(candidate, &one);
      static_cast<void>(::sched_setaffinity(0, sizeof one, &one));
      return;
    }
  }
}

// --- the server's process -----------------------------------------------------------------

template <class Server>
void serve(Server& server, std::uint64_t messages) {
  for (std::uint64_t served = 0; served < messages;) {
    if (server.try_serve()) {
      ++served;
    } else {
      ipc::cpu_pause();
    }
  }
}

void serve_asleep(SleepyMemory& memory, std::uint64_t messages) {
  for (std::uint64_t served = 0; served < messages; ++served) {
    const auto before = static_cast<std::uint32_t>(memory.answer.load(std::memory_order_relaxed));
    while (memory.call.load(std::memory_order_acquire) == before) {
      ipc::futex_wait(memory.call, before, ipc::kForever);
    }
    memory.answer.store(before + 1, std::memory_order_release);
    ipc::futex_wake(memory.answer, 1);
  }
}

void serve_asleep(Channel::Server& server, std::uint64_t messages) {
  for (std::uint64_t served = 0; served < messages;) {
    if (server.try_serve()) {
      ++served;
    } else {
      server.end().sleep_for_task(ipc::kForever);
    }
  }
}

[[noreturn]] void run_server(Memory& memory, int bell) {
  pin(1);
  Bare::Server bare(memory.bare, bell);
  Rings::Server rings(memory.rings, bell);
  Channel::Server channel(memory.channel, bell);
  Channel::Server sleepy_channel(memory.sleepy_channel, bell);
  std::uint64_t done = 0;
  std::uint64_t last = 0;
  while (true) {
    const std::uint64_t order = memory.order.load(std::memory_order_acquire);
    if (order == last) {
      ipc::cpu_pause();
      continue;
    }
    last = order;
    const std::uint64_t messages = order >> 8 & 0xFFFF'FFFF;
    switch (static_cast<Command>(order & 0xFF)) {
      case Command::bare: serve(bare, messages); break;
      case Command::rings: serve(rings, messages); break;
      case Command::channel: serve(channel, messages); break;
      case Command::bare_asleep: serve_asleep(memory.sleepy, messages); break;
      case Command::channel_asleep: serve_asleep(sleepy_channel, messages); break;
      case Command::none:
      case Command::end: std::_Exit(0);
    }
    memory.done.store(++done, std::memory_order_release);
  }
}

// --- the caller's process -----------------------------------------------------------------

[[noreturn]] void wrong(const char* contestant) {
  std::fprintf(stderr, "ipc_floor: a wrong answer from %s\n", contestant);
  std::exit(1);
}

class Contest {
 public:
  Contest(Memory& memory, int bell)
      : memory_(memory),
        bell_fd_(bell),
        bare_(memory.bare, bell),
        rings_(memory.rings, bell),
        channel_(memory.channel, bell),
        sleepy_channel_(memory.sleepy_channel.channel),
        bell_(memory.sleepy_channel.board) {}

  void round(Figures& figures) {
    round_trips<Bare>(bare_, Command::bare, figures);
    round_trips<Rings>(rings_, Command::rings, figures);
    round_trips<Channel>(channel_, Command::channel, figures);
    stream<Bare>(bare_, Command::bare, figures);
    stream<Rings>(rings_, Command::rings, figures);
    stream<Channel>(channel_, Command::channel, figures);
    bare_asleep(figures);
    channel_asleep(figures);
  }

  void end() { order(Command::end, 0); }

 private:
  void order(Command command, std::uint64_t messages) {
    ++orders_;
    memory_.order.store(orders_ << 40 | messages << 8 | static_cast<std::uint64_t>(command),
                        std::memory_order_release);
  }

  void wait_done() {
    while (memory_.done.load(std::memory_order_acquire) != orders_) {
      ipc::cpu_pause();
    }
  }

  template <class Contestant>
  void round_trips(typename Contestant::Caller& caller, Command command, Figures& figures) {
    order(command, kTripsPerBatch * kBatches);
    std::vector<double> batches;
    batches.reserve(kBatches);
    for (std::uint64_t batch = 0; batch < kBatches; ++batch) {
      const std::uint64_t begun = ipc::now_ns();
      for (std::uint64_t trip = 0; trip < kTripsPerBatch; ++trip) {
        const std::uint64_t number = batch << 32 | trip;
        std::uint64_t answer = 0;
        if (!caller.try_call(number)) {
          wrong(Contestant::kName);
        }
        while (!caller.try_answer(answer)) {
          ipc::cpu_pause();
        }
        if (answer != number + 1) {
          wrong(Contestant::kName);
        }
      }
      batches.push_back(static_cast<double>(ipc::now_ns() - begun) /
                        static_cast<double>(kTripsPerBatch));
    }
    wait_done();
    figures.add(Contestant::kName, "round trip", quantile(batches, 0.5));
    figures.add(Contestant::kName, "round trip, 99th percentile of batches",
                quantile(batches, 0.99));
  }

  template <class Contestant>
  void stream(typename Contestant::Caller& caller, Command command, Figures& figures) {
    order(command, kStreamed);
    const std::uint64_t begun = ipc::now_ns();
    std::uint64_t called = 0;
    std::uint64_t answered = 0;
    while (answered < kStreamed) {
      bool moved = false;
      while (called < kStreamed && called - answered < BareRing::kSlots &&
             caller.try_call(called)) {
        ++called;
        moved = true;
      }
      std::uint64_t answer = 0;
      while (caller.try_answer(answer)) {
        if (answer != answered + 1) {
          wrong(Contestant::kName);
        }
        ++answered;
        moved = true;
      }
      if (!moved) {
        ipc::cpu_pause();
      }
    }
    const double ns = static_cast<double>(ipc::now_ns() - begun) / static_cast<double>(kStreamed);
    wait_done();
    figures.add(Contestant::kName, "stream, a call and its answer", ns);
  }

  void bare_asleep(Figures& figures) {
    SleepyMemory& memory = memory_.sleepy;
    order(Command::bare_asleep, kAsleepTrips);
    std::vector<double> trips;
    for (std::uint64_t trip = 0; trip < kAsleepTrips; ++trip) {
      const std::uint64_t begun = ipc::now_ns();
      const std::uint32_t number = memory.call.load(std::memory_order_relaxed) + 1;
      memory.call.store(number, std::memory_order_release);
      ipc::futex_wake(memory.call, 1);
      while (memory.answer.load(std::memory_order_acquire) != number) {
        ipc::futex_wait(memory.answer, number - 1, ipc::kForever);
      }
      trips.push_back(static_cast<double>(ipc::now_ns() - begun));
    }
    wait_done();
    figures.add("bare futex", "round trip asleep", quantile(trips, 0.5));
  }

  void channel_asleep(Figures& figures) {
    ipc::SupervisorEnd& end = sleepy_channel_;
    order(Command::channel_asleep, kAsleepTrips);
    std::vector<double> trips;
    for (std::uint64_t trip = 0; trip < kAsleepTrips; ++trip) {
      const std::uint64_t begun = ipc::now_ns();
      ipc::TaskSlot* slot = end.try_reserve_task();
      if (slot == nullptr) {
        wrong("channel asleep");
      }
      slot->task = trip;
      slot->size = sizeof(Payload);
      slot->kind = ipc::TaskKind::call;
      end.publish_task();
      end.wake_if_asleep();
      const ipc::ResultSlot* result = nullptr;
      while ((result = end.front_result()) == nullptr) {
        bell_.set(ipc::Bell::caller);
        if (end.set_notify_at(end.result_position() + 1)) {
          std::uint64_t rings = 0;
          if (::read(bell_fd_, &rings, sizeof rings) != sizeof rings) {
            wrong("channel asleep");
          }
        }
        bell_.set(ipc::Bell::nobody);
      }
      if (result->task != trip) {
        wrong("channel asleep");
      }
      end.pop_result();
      trips.push_back(static_cast<double>(ipc::now_ns() - begun));
    }
    wait_done();
    figures.add("channel", "round trip asleep", quantile(trips, 0.5));
  }

  Memory& memory_;
  int bell_fd_;
  Bare::Caller bare_;
  Rings::Caller rings_;
  Channel::Caller channel_;
  ipc::SupervisorEnd sleepy_channel_;
  ipc::BellOwner bell_;
  std::uint64_t orders_ = 0;
};

std::string machine() {
  utsname name{};
  static_cast<void>(::uname(&name));
  return "\"kernel\": \"" + std::string(name.release) + "\", \"architecture\": \"" + name.machine +
         "\", \"cpus\": " + std::to_string(std::thread::hardware_concurrency()) +
         ", \"compiler\": \"" __VERSION__ "\"";
}

int run(std::uint64_t rounds, const char* json) {
  const ipc::UniqueFd fd = ipc::create_memfd("ipc_floor", sizeof(Memory));
  const ipc::Mapping mapping(fd.get(), sizeof(Memory), ipc::Access::read_write);
  const ipc::UniqueFd bell(::eventfd(0, EFD_CLOEXEC));
  auto& memory = mapping.as<Memory>();

  // The orders of both channels are written before their worker exists, as in the pool.
  Contest contest(memory, bell.get());
  const pid_t caller = ::getpid();
  const pid_t server = ::fork();
  if (server < 0) {
    std::perror("fork");
    return 1;
  }
  if (server == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != caller) {
      std::_Exit(1);
    }
    run_server(memory, bell.get());
  }
  pin(0);
  Figures warm_up;
  contest.round(warm_up);
  Figures figures;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    contest.round(figures);
  }
  contest.end();
  ::waitpid(server, nullptr, 0);

  figures.print_table(stdout);
  if (json != nullptr) {
    std::FILE* out = std::strcmp(json, "-") == 0 ? stdout : std::fopen(json, "w");
    if (out == nullptr) {
      std::perror(json);
      return 1;
    }
    figures.print_json(out, machine());
    std::fflush(out);
  }
  return 0;
}

}  // namespace
}  // namespace owngil::bench

int main(int argc, char** argv) {
  std::uint64_t rounds = 101;
  const char* json = nullptr;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
      rounds = std::strtoull(argv[++i], nullptr, 10);
    } else if (std::strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::fprintf(stderr, "usage: ipc_floor [--rounds N] [--json FILE]\n");
      return 2;
    }
  }
  return owngil::bench::run(rounds, json);
}

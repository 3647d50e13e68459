// SPDX-License-Identifier: BSD-3-Clause
// The channel between two processes, either of which may be killed at any instant.
#include "channel_memory.hpp"
#include "ipc/channel.hpp"
#include "ipc/clock.hpp"
#include "ipc/cpu_pause.hpp"
#include "ipc/futex.hpp"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <deque>
#include <random>
#include <set>
#include <thread>

namespace owngil::ipc {
namespace {

using testing::ChannelMemory;
using testing::Message;
using testing::push;
using testing::serve;
using testing::wait_for_ring;

// A child that runs `body` and dies with this process.
template <class Body>
pid_t fork_child(Body&& body) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() == parent) {
      body();
    }
    ::_exit(0);
  }
  EXPECT_GT(child, 0);
  return child;
}

void kill_and_reap(pid_t child) {
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

[[noreturn]] void work_for_ever(ChannelMemory& memory) {
  WorkerEnd worker(memory.channel, memory.board_as_worker, memory.caller_bell.get(),
                   memory.control_bell.get());
  worker.set_state(WorkerState::ready, static_cast<std::uint32_t>(::getpid()));
  while (true) {
    if (worker.front_task() != nullptr || worker.spin_for_task() ||
        worker.sleep_for_task(kForever)) {
      serve(worker);
    }
  }
}

// Lets a random time pass without giving up the CPU for it.
void linger(std::mt19937_64& random, std::uint64_t at_most_ns) {
  const std::uint64_t end = now_ns() + random() % at_most_ns;
  while (now_ns() < end) {
    cpu_pause();
  }
}

TEST(ChannelProcessesTest, BothSidesSleepAndWakeAcrossProcesses) {
  ChannelMemory memory;
  SupervisorEnd supervisor(memory.channel);
  BellOwner bell(memory.board);
  const pid_t child = fork_child([&memory] { work_for_ever(memory); });
  for (std::uint64_t task = 0; task < 500; ++task) {
    supervisor.set_spin_ns(task % 3 == 0 ? 20'000 : 0);
    ASSERT_TRUE(push(supervisor, task));
    supervisor.wake_if_asleep();
    while (supervisor.front_result() == nullptr) {
      bell.set(Bell::caller);
      if (supervisor.set_notify_at(supervisor.result_position() + 1)) {
        wait_for_ring(memory.caller_bell);
      }
      bell.set(Bell::nobody);
    }
    ASSERT_EQ(supervisor.front_result()->task, task);
    ASSERT_TRUE(Message(supervisor.front_result()->bytes).intact());
    supervisor.pop_result();
  }
  EXPECT_EQ(supervisor.current().state, WorkerState::ready);
  EXPECT_EQ(memory.channel.current.pid.load(), static_cast<std::uint32_t>(child));
  kill_and_reap(child);
}

// What a supervisor does when a worker dies: it believes every committed result, lets one task
// that had begun fail, and gives all others to the next worker. Every task must end exactly once.
TEST(ChannelKillTest, AWorkerKilledAtAnyInstantCostsOneTaskAtMost) {
  constexpr std::uint64_t kLives = 150;
  std::mt19937_64 random(7);
  std::uint64_t lives = 0;
  std::uint64_t next_task = 1;
  std::uint64_t answered = 0;
  std::uint64_t failed = 0;
  std::deque<std::uint64_t> waiting;  // never begun by the worker that had them
  std::set<std::uint64_t> ended;
  const auto end_once = [&ended](std::uint64_t task) { ASSERT_TRUE(ended.insert(task).second); };

  for (; lives < kLives || answered == 0; ++lives) {
    ChannelMemory memory;  // a fresh channel for each worker: never repaired
    SupervisorEnd supervisor(memory.channel);
    supervisor.set_spin_ns(random() % 2 == 0 ? 0 : 50'000);
    std::deque<std::uint64_t> in_flight;
    const auto collect = [&] {
      while (const ResultSlot* result = supervisor.front_result()) {
        ASSERT_FALSE(in_flight.empty());
        ASSERT_EQ(result->task, in_flight.front());
        ASSERT_EQ(result->position, supervisor.result_position());
        const Message message(result->bytes);
        ASSERT_TRUE(message.intact());
        ASSERT_EQ(message.number, result->task);
        end_once(in_flight.front());
        in_flight.pop_front();
        ++answered;
        supervisor.pop_result();
      }
    };

    const pid_t child = fork_child([&memory] { work_for_ever(memory); });
    if (lives % 2 == 0) {  // of the others some die before they run at all
      while (supervisor.current().state != WorkerState::ready) std::this_thread::yield();
    }
    const std::uint64_t turns = random() % 300;
    for (std::uint64_t turn = 0; turn < turns; ++turn) {
      while (in_flight.size() < random() % 32) {
        std::uint64_t task = next_task;
        if (waiting.empty()) {
          ++next_task;
        } else {
          task = waiting.front();
          waiting.pop_front();
        }
        ASSERT_TRUE(push(supervisor, task));
        in_flight.push_back(task);
        supervisor.wake_if_asleep();
      }
      collect();
      linger(random, 3'000);
    }
    kill_and_reap(child);

    collect();
    if (!in_flight.empty() && supervisor.current().task == in_flight.front()) {
      end_once(in_flight.front());  // had begun, was not committed
      in_flight.pop_front();
      ++failed;
    }
    for (const std::uint64_t task : in_flight) {
      ASSERT_NE(supervisor.current().task, task);
    }
    waiting.insert(waiting.end(), in_flight.begin(), in_flight.end());
  }
  EXPECT_EQ(answered + failed + waiting.size(), next_task - 1);
  EXPECT_LE(failed, lives);
}

// The other side: what the supervisor had published is whole, and nothing else is there.
TEST(ChannelKillTest, ASupervisorKilledAtAnyInstantLeavesWholeTasksOrNone) {
  constexpr int kLives = 150;
  std::mt19937_64 random(8);
  for (int life = 0; life < kLives; ++life) {
    ChannelMemory memory;
    const pid_t child = fork_child([&memory] {
      SupervisorEnd supervisor(memory.channel);
      supervisor.set_spin_ns(5'000);
      for (std::uint64_t task = 0;;) {
        if (push(supervisor, task)) {
          ++task;
          supervisor.wake_if_asleep();
        }
        while (supervisor.front_result() != nullptr) {
          supervisor.pop_result();
        }
      }
    });
    WorkerEnd worker(memory.channel, memory.board_as_worker, memory.caller_bell.get(),
                     memory.control_bell.get());
    const std::uint64_t until = random() % 500;
    std::uint64_t next = 0;
    const auto check_and_serve = [&] {
      const TaskSlot& task = *worker.front_task();
      ASSERT_EQ(task.task, next);
      const Message message(task.bytes);
      ASSERT_TRUE(message.intact());
      ASSERT_EQ(message.number, next);
      ++next;
      ASSERT_TRUE(serve(worker));
    };
    while (next < until) {
      if (worker.front_task() != nullptr || worker.spin_for_task() ||
          worker.sleep_for_task(kForever)) {
        check_and_serve();
      }
    }
    linger(random, 50'000);
    kill_and_reap(child);
    while (worker.front_task() != nullptr) {
      check_and_serve();
    }
    ASSERT_FALSE(worker.sleep_for_task(0));
  }
}

}  // namespace
}  // namespace owngil::ipc

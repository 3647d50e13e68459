// SPDX-License-Identifier: BSD-3-Clause
// Every interleaving of a sleeper and a waker, on a machine that delays stores as x86 may.
//
// The model of sleep_for_task and publish_task + wake_if_asleep: each side is a list of steps, each
// side's stores wait in a buffer of its own until they are flushed, at any time, in order; a fence
// and a system call wait for that. Explored exhaustively. Three variants that the code is not must
// each lose a wake-up, or the model proves nothing: no fence; a futex on the epoch, which the waker
// does not change; one call a sleep, whether it woke anybody or not.
#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <set>
#include <tuple>

namespace owngil::ipc {
namespace {

constexpr int kTasks = 2;

enum Word : std::uint8_t { kEpoch, kTail, kWords };
enum class SleepOn : std::uint8_t { task_tail, epoch };
enum class CallAgain : std::uint8_t { unless_woken, never };

struct Variant {
  SleepOn sleep_on = SleepOn::task_tail;
  bool fences = true;
  CallAgain call_again = CallAgain::unless_woken;
};

struct Store {
  Word word;
  int value;
  auto operator<=>(const Store&) const = default;
};

struct State {
  int memory[kWords] = {0, 0};
  std::deque<Store> sleeper_stores;
  std::deque<Store> waker_stores;
  int sleeper_step = 0;
  int waker_step = 0;
  int epoch = 0;     // the sleeper's own copy
  int consumed = 0;  // tasks that the sleeper has seen
  int expected = 0;  // what it passes to futex_wait
  int seen_epoch = 0;
  int woken_epoch = 0;
  int published = 0;
  bool in_kernel = false;

  [[nodiscard]] auto key() const {
    return std::tuple(memory[kEpoch], memory[kTail], sleeper_stores, waker_stores, sleeper_step,
                      waker_step, epoch, consumed, expected, seen_epoch, woken_epoch, published,
                      in_kernel);
  }
};

class Explorer {
 public:
  explicit Explorer(Variant variant) : variant_(variant) {}

  // Whether some order of the steps leaves the sleeper asleep over a task.
  bool loses_a_wake_up() {
    explore(State{});
    return lost_;
  }
  [[nodiscard]] std::size_t states() const { return seen_.size(); }

 private:
  static int load(const State& s, Word word, const std::deque<Store>& own) {
    for (auto store = own.rbegin(); store != own.rend(); ++store) {
      if (store->word == word) {
        return store->value;
      }
    }
    return s.memory[word];
  }

  static void flush_one(State& s, std::deque<Store>& stores) {
    s.memory[stores.front().word] = stores.front().value;
    stores.pop_front();
  }

  void explore(const State& s) {
    if (!seen_.insert(s.key()).second) {
      return;
    }
    bool moved = false;
    const auto go = [&](auto&& change) {
      State next = s;
      if (change(next)) {
        moved = true;
        explore(next);
      }
    };
    go([this](State& n) { return step_sleeper(n); });
    go([this](State& n) { return step_waker(n); });
    if (!s.sleeper_stores.empty()) {
      go([](State& n) { return flush_one(n, n.sleeper_stores), true; });
    }
    if (!s.waker_stores.empty()) {
      go([](State& n) { return flush_one(n, n.waker_stores), true; });
    }
    if (!moved && s.consumed < kTasks) {
      lost_ = true;
    }
  }

  // sleep_for_task, over and over until all tasks were seen.
  bool step_sleeper(State& s) const {
    auto& own = s.sleeper_stores;
    if (s.in_kernel || s.consumed == kTasks) {
      return false;
    }
    switch (s.sleeper_step) {
      case 0: own.push_back({kEpoch, ++s.epoch}); break;
      case 1:  // full_fence
        if (variant_.fences && !own.empty()) {
          return false;
        }
        break;
      case 2: {  // the last look
        const int tail = load(s, kTail, own);
        if (tail != s.consumed) {
          s.consumed = tail;
          s.sleeper_step = 4;
          return true;
        }
        s.expected = variant_.sleep_on == SleepOn::task_tail ? s.consumed : s.epoch;
        break;
      }
      case 3:  // futex_wait: the comparison and the falling asleep are one step
        if (!own.empty()) {
          return false;
        }
        s.in_kernel =
            s.memory[variant_.sleep_on == SleepOn::task_tail ? kTail : kEpoch] == s.expected;
        break;
      case 4:
        own.push_back({kEpoch, ++s.epoch});
        s.consumed = load(s, kTail, own);
        s.sleeper_step = 0;
        return true;
    }
    ++s.sleeper_step;
    return true;
  }

  // publish_task and wake_if_asleep, for each task.
  bool step_waker(State& s) const {
    auto& own = s.waker_stores;
    if (s.published == kTasks) {
      return false;
    }
    switch (s.waker_step) {
      case 0: own.push_back({kTail, s.published + 1}); break;
      case 1:  // full_fence
        if (variant_.fences && !own.empty()) {
          return false;
        }
        break;
      case 2: {
        const int epoch = load(s, kEpoch, own);
        if (epoch % 2 == 0 || epoch == s.woken_epoch) {
          s.waker_step = 0;
          ++s.published;
          return true;
        }
        s.seen_epoch = epoch;
        break;
      }
      case 3:  // futex_wake
        if (!own.empty()) {
          return false;
        }
        if (s.in_kernel || variant_.call_again == CallAgain::never) {
          s.woken_epoch = s.seen_epoch;
        }
        s.in_kernel = false;
        s.waker_step = 0;
        ++s.published;
        return true;
    }
    ++s.waker_step;
    return true;
  }

  Variant variant_;
  bool lost_ = false;
  std::set<decltype(State{}.key())> seen_;
};

TEST(SleepProtocolTest, LosesNoWakeUpInAnyInterleaving) {
  Explorer explorer(Variant{});
  EXPECT_FALSE(explorer.loses_a_wake_up());
  EXPECT_GT(explorer.states(), 100U);
}

TEST(SleepProtocolTest, WouldLoseOneWithoutTheFences) {
  EXPECT_TRUE(Explorer({.fences = false}).loses_a_wake_up());
}

TEST(SleepProtocolTest, WouldLoseOneIfTheWorkerSleptOnAWordThatTheWakerDoesNotChange) {
  EXPECT_TRUE(Explorer({.sleep_on = SleepOn::epoch}).loses_a_wake_up());
}

// The first task's call may fall into the sleep after it, when that task has been seen already.
TEST(SleepProtocolTest, WouldLoseOneIfACallThatWokeNobodyCounted) {
  EXPECT_TRUE(Explorer({.call_again = CallAgain::never}).loses_a_wake_up());
}

}  // namespace
}  // namespace owngil::ipc

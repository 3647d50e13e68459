// SPDX-License-Identifier: BSD-3-Clause
// Races between a worker and its supervisor, played step by step in each of their orders: the
// death of a worker against its commit, and a cancellation against its claim.
//
// The first lives of the one worker are played by hand: it takes a step when the test says so.
// A time limit against the end of the task is in supervisor_limits_test.cpp.
#include "tests/runtime/supervisor_fixture.hpp"

#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace owngil::runtime {
namespace {

constexpr std::string_view kByHand = "by hand";

// A worker's life, of which the test's thread takes each step.
class LifeByHand {
 public:
  using Step = std::function<void(ipc::WorkerEnd&)>;

  explicit LifeByHand(int lives) : lives_(lives) {}

  // Runs on the worker's thread. False: not this life.
  bool play(const PlayedWorkers::Stage& stage) {
    std::unique_lock lock(mutex_);
    if (lives_ == 0) return false;
    playing_ = true;
    --lives_;
    changed_.notify_all();
    stage.end.set_state(ipc::WorkerState::ready, 1);
    while (true) {
      while (!step_ && !dead_ && !stage.is_killed()) {
        changed_.wait_for(lock, std::chrono::milliseconds(1));
      }
      if (!step_) {
        dead_ = playing_ = false;
        changed_.notify_all();
        return true;
      }
      step_(stage.end);
      step_ = nullptr;
      changed_.notify_all();
    }
  }

  // Returns before the step is done.
  void begin(Step step) {
    const std::lock_guard lock(mutex_);
    step_ = std::move(step);
    changed_.notify_all();
  }

  void finish() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !step_; });
  }

  void take(Step step) {
    begin(std::move(step));
    finish();
  }

  // Ends this life, if one is played; the next step is the next one's.
  void die() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return playing_ || lives_ == 0; });
    if (!playing_) return;
    dead_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !dead_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Step step_;
  int lives_;
  bool playing_ = false;
  bool dead_ = false;
};

// The steps of a worker with a task, as WorkerLoop takes them.
void receive(ipc::WorkerEnd& end) {
  while (true) {
    const ipc::TaskSlot* const slot = end.front_task();
    if (slot == nullptr) {
      static_cast<void>(end.sleep_for_task(1'000'000));
    } else if (slot->kind == ipc::TaskKind::define) {
      end.pop_task();
    } else {
      return;
    }
  }
}
void claim(ipc::WorkerEnd& end) { ASSERT_TRUE(end.try_claim()); }
void begin(ipc::WorkerEnd& end) { end.begin(end.front_task()->task, ipc::now_ns()); }
void write(ipc::WorkerEnd& end) {
  ipc::ResultSlot& result = end.reserve_result();
  result = {};
  result.task = end.front_task()->task;
  result.position = end.task_position();
  result.count = 1;
  result.status = ipc::Status::returned;
  result.format = ipc::Format::tagged;
  result.where = ipc::Where::inline_bytes;
  result.size = kByHand.size();
  std::memcpy(result.bytes, kByHand.data(), kByHand.size());
}
void commit(ipc::WorkerEnd& end) { end.publish_result(); }
void pop(ipc::WorkerEnd& end) { end.pop_task(); }

class RacesTest : public SupervisorTest {
 protected:
  explicit RacesTest(int lives = 1) : life_(lives) {}

  void SetUp() override {
    world_.instead = [this](const PlayedWorkers::Stage& stage) { return life_.play(stage); };
    open(1);
  }

  void TearDown() override {
    life_.die();
    SupervisorTest::TearDown();
  }

  LifeByHand life_;
};

// --- death against commit

struct Death {
  const char* after;
  int steps;  // of those below
  Ending ending;
  const char* answer;
};

constexpr void (*kSteps[])(ipc::WorkerEnd&) = {receive, claim, begin, write, commit, pop};

class DeathAgainstCommit : public RacesTest, public testing::WithParamInterface<Death> {};

TEST_P(DeathAgainstCommit, DecidesWhetherTheTaskRunsAgainIsLostOrIsDone) {
  Task& task = submit("echo");
  for (int step = 0; step < GetParam().steps; ++step) life_.take(kSteps[step]);
  life_.die();
  EXPECT_EQ(result(task), GetParam().answer);
  EXPECT_EQ(ending(task), GetParam().ending);
  EXPECT_EQ(ending(submit("echo")), Ending::returned);
  EXPECT_EQ(supervisor_->snapshot().restarts, 1U);
}

INSTANTIATE_TEST_SUITE_P(Orders, DeathAgainstCommit,
                         testing::Values(Death{"Nothing", 0, Ending::returned, "echo"},
                                         Death{"Receive", 1, Ending::returned, "echo"},
                                         Death{"Claim", 2, Ending::returned, "echo"},
                                         Death{"Begin", 3, Ending::died, ""},
                                         Death{"Write", 4, Ending::died, ""},
                                         Death{"Commit", 5, Ending::returned, "by hand"},
                                         Death{"Pop", 6, Ending::returned, "by hand"}),
                         [](const auto& death) {
                           return std::string("After") + death.param.after;
                         });

class TwoLives : public RacesTest {
 protected:
  TwoLives() : RacesTest(2) {}
};

TEST_F(TwoLives, ATaskThatWasClaimedAndDidNotBeginIsToBlameTheSecondTime) {
  // Whoever writes over `current` and dies would otherwise be run for ever.
  Task& task = submit("echo");
  for (int life = 0; life < 2; ++life) {
    life_.take(receive);
    life_.take(claim);
    life_.die();
  }
  static_cast<void>(result(task));
  ASSERT_EQ(task.ending, Ending::died);
  EXPECT_TRUE(task.failure->protocol);
  supervisor_->forget(task);
}

// --- cancel against claim

TEST_F(RacesTest, ATaskThatIsCancelledBeforeItsWorkerClaimsItNeverRuns) {
  Task& task = submit("echo");
  life_.take(receive);
  EXPECT_TRUE(supervisor_->cancel(task, Running::spare, 0));
  bool claimed = true;
  life_.take([&claimed](ipc::WorkerEnd& end) {
    claimed = end.try_claim();
    end.pop_task();
  });
  EXPECT_FALSE(claimed);
  EXPECT_EQ(ending(task), Ending::cancelled);
}

TEST_F(RacesTest, ATaskThatItsWorkerHasClaimedCannotBeCancelled) {
  Task& task = submit("echo");
  life_.take(receive);
  life_.take(claim);
  EXPECT_FALSE(supervisor_->cancel(task, Running::spare, 0));
  for (const auto step : {begin, write, commit, pop}) life_.take(step);
  EXPECT_EQ(result(task), kByHand);
  EXPECT_EQ(ending(task), Ending::returned);
}

TEST_F(RacesTest, OneOfBothWinsWhenATaskIsCancelledAndClaimedAtOnce) {
  int cancellations = 0;
  for (int round = 0; round < 300; ++round) {
    Task& task = submit("echo");
    std::atomic<int> ready{0};
    bool claimed = false;
    life_.take(receive);
    life_.begin([&](ipc::WorkerEnd& end) {
      ++ready;
      while (ready.load() < 2) {
      }
      claimed = end.try_claim();
    });
    ++ready;
    while (ready.load() < 2) {
    }
    const bool cancelled = supervisor_->cancel(task, Running::spare, 0);
    life_.finish();
    ASSERT_NE(cancelled, claimed);
    if (claimed) {
      for (const auto step : {begin, write, commit}) life_.take(step);
    }
    life_.take(pop);
    ASSERT_EQ(ending(task), cancelled ? Ending::cancelled : Ending::returned);
    cancellations += cancelled ? 1 : 0;
  }
  RecordProperty("cancellations", cancellations);
}

}  // namespace
}  // namespace owngil::runtime

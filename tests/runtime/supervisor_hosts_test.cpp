// SPDX-License-Identifier: BSD-3-Clause
// Workers that share a process, whose deaths are told one by one.
#include "runtime/supervisor.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>

namespace owngil::runtime {
namespace {

constexpr pid_t kHost = 1000;

// Workers that do nothing. What would be told of them is left to the test.
struct Told {
  std::set<std::uint64_t> launched;
  bool has_ended = false;
};

class QuietLauncher final : public Launcher {
 public:
  explicit QuietLauncher(Told& told) : told_(told) {}

  std::uint64_t next_key() override { return told_.launched.size() + 1; }
  void launch(std::uint64_t key, std::uint32_t, const WorkerFds&) override {
    told_.launched.insert(key);
  }
  void kill(std::uint64_t) noexcept override {}
  void signal(std::uint64_t, int) noexcept override {}
  void call_after(std::uint64_t) override {}
  void ended() override { told_.has_ended = true; }

 private:
  Told& told_;
};

class HostsTest : public testing::Test {
 protected:
  void SetUp() override {
    SupervisorOptions options;
    options.workers = 3;
    options.cpus = 2;
    options.arena_size = std::size_t{1} << 22;
    supervisor_ = new Supervisor(options, std::make_unique<QuietLauncher>(told_));
    supervisor_->start(nullptr);
    for (const std::uint64_t key : told_.launched) supervisor_->on_started(key, kHost);
  }

  void TearDown() override { supervisor_->release(); }

  void tell_end_of_host(std::uint64_t key) {
    supervisor_->on_exited(key, kHost, WorkerExit{0, true, 0});
  }

  Told told_;
  Supervisor* supervisor_ = nullptr;
};

TEST_F(HostsTest, ThePoolEndsWhenTheEndOfTheLastOneWasTold) {
  supervisor_->shutdown(false);
  tell_end_of_host(2);
  EXPECT_FALSE(told_.has_ended);
  tell_end_of_host(1);
  EXPECT_FALSE(told_.has_ended);
  tell_end_of_host(3);
  EXPECT_TRUE(told_.has_ended);
}

TEST_F(HostsTest, WhoCameUpNowhereIsToldOfByFailure) {
  supervisor_->shutdown(false);
  tell_end_of_host(2);
  supervisor_->on_failed(1, "it died before it was ready", true);
  EXPECT_FALSE(told_.has_ended);
  tell_end_of_host(3);
  EXPECT_TRUE(told_.has_ended);
}

TEST_F(HostsTest, AllSeatsAreFilledAgainAtTheFirstWord) {
  tell_end_of_host(2);
  EXPECT_EQ(told_.launched.size(), 6U);
  EXPECT_EQ(supervisor_->snapshot().leaving, 2U);
  tell_end_of_host(1);
  tell_end_of_host(3);
  EXPECT_EQ(supervisor_->snapshot().leaving, 0U);
  supervisor_->shutdown(false);
  for (const std::uint64_t key : {4, 5, 6}) supervisor_->on_failed(key, "nobody", false);
  EXPECT_TRUE(told_.has_ended);
}

}  // namespace
}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/spin_budget.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace owngil::ipc {
namespace {

constexpr std::uint64_t kGranted = 50'000;
constexpr std::uint64_t kMillisecond = 1'000'000;

void disappoint(SpinBudget& spin, int times) {
  for (int i = 0; i < times; ++i) {
    spin.in_vain();
  }
}

TEST(SpinBudgetTest, IsAllThatWasGrantedAtFirst) {
  EXPECT_EQ(SpinBudget().budget_ns(kGranted), kGranted);
  EXPECT_EQ(SpinBudget().budget_ns(0), 0U);
}

TEST(SpinBudgetTest, OneVainSpinChangesNothing) {
  SpinBudget spin;
  spin.in_vain();
  EXPECT_EQ(spin.budget_ns(kGranted), kGranted);
}

TEST(SpinBudgetTest, VainSpinsHalveItDownToNothing) {
  SpinBudget spin;
  std::uint64_t last = kGranted;
  for (int i = 0; i < 6; ++i) {
    disappoint(spin, 2);
    EXPECT_LE(spin.budget_ns(kGranted), last / 2);
    last = spin.budget_ns(kGranted);
  }
  EXPECT_EQ(last, 0U);
  disappoint(spin, 1000);
  EXPECT_EQ(spin.budget_ns(kGranted), 0U);
}

TEST(SpinBudgetTest, ARewardedSpinRestoresIt) {
  SpinBudget spin;
  disappoint(spin, 4);
  spin.rewarded();
  EXPECT_EQ(spin.budget_ns(kGranted), kGranted);
}

TEST(SpinBudgetTest, ATaskSoonAfterFallingAsleepRestoresIt) {
  SpinBudget spin;
  disappoint(spin, 100);
  spin.woken(kGranted, kGranted);
  EXPECT_EQ(spin.budget_ns(kGranted), kGranted);
}

TEST(SpinBudgetTest, ATaskLongAfterFallingAsleepDoesNot) {
  SpinBudget spin;
  disappoint(spin, 100);
  spin.woken(kMillisecond, kGranted);
  EXPECT_EQ(spin.budget_ns(kGranted), 0U);
}

// The time spun by a worker whose caller comes every so often.
std::uint64_t spun_in(std::uint64_t calls, std::uint64_t every_ns) {
  SpinBudget spin;
  std::uint64_t spun = 0;
  for (std::uint64_t call = 0; call < calls; ++call) {
    const std::uint64_t budget = spin.budget_ns(kGranted);
    if (budget >= every_ns) {
      spin.rewarded();
      spun += every_ns;
    } else {
      spun += budget;
      if (budget > 0) {
        spin.in_vain();
      }
      spin.woken(every_ns - budget, kGranted);
    }
  }
  return spun;
}

TEST(SpinBudgetTest, ACallEveryMillisecondCostsNextToNothing) {
  EXPECT_LT(spun_in(1000, kMillisecond), 1000 * kMillisecond / 1000);
}

TEST(SpinBudgetTest, ASequentialCallerAlwaysMeetsASpinningWorker) {
  EXPECT_EQ(spun_in(1000, 2'000), 1000U * 2'000);
}

}  // namespace
}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/restart_intensity.hpp"

#include <gtest/gtest.h>

namespace owngil::runtime {
namespace {

constexpr std::uint64_t kWindow = 100;

TEST(RestartIntensity, ToleratesAsManyLossesAsTheLimitSays) {
  RestartIntensity intensity(kWindow);
  for (std::uint64_t now = 1; now <= 3; ++now) EXPECT_FALSE(intensity.is_exceeded_by_loss(now, 3));
  EXPECT_TRUE(intensity.is_exceeded_by_loss(4, 3));
}

TEST(RestartIntensity, ToleratesNoLossWithALimitOfNone) {
  RestartIntensity intensity(kWindow);
  EXPECT_TRUE(intensity.is_exceeded_by_loss(1, 0));
}

TEST(RestartIntensity, ForgetsLossesThatAreOlderThanTheWindowOnceAWorkerCameUp) {
  RestartIntensity intensity(kWindow);
  for (std::uint64_t now = 10; now <= 1'000; now += 60) {
    EXPECT_FALSE(intensity.is_exceeded_by_loss(now, 2)) << now;
    intensity.came_up(now + 1);
  }
}

TEST(RestartIntensity, RemembersALossOfExactlyTheWindowsAge) {
  RestartIntensity intensity(kWindow);
  EXPECT_FALSE(intensity.is_exceeded_by_loss(10, 1));
  intensity.came_up(11);
  EXPECT_TRUE(intensity.is_exceeded_by_loss(10 + kWindow, 1));
}

TEST(RestartIntensity, ForgetsNothingWhileNobodyComesUpHoweverSlowlyStartsFail) {
  RestartIntensity intensity(kWindow);
  intensity.came_up(5);
  EXPECT_FALSE(intensity.is_exceeded_by_loss(1'000, 2));
  EXPECT_FALSE(intensity.is_exceeded_by_loss(2'000, 2));
  EXPECT_TRUE(intensity.is_exceeded_by_loss(3'000, 2));
}

TEST(RestartIntensity, ForgetsOnlyWhatWasLostBeforeTheWorkerThatCameUpWasStarted) {
  RestartIntensity intensity(kWindow);
  EXPECT_FALSE(intensity.is_exceeded_by_loss(1'000, 1));
  intensity.came_up(999);
  EXPECT_TRUE(intensity.is_exceeded_by_loss(2'000, 1));
}

}  // namespace
}  // namespace owngil::runtime

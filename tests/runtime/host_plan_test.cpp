// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/host_plan.hpp"

#include <gtest/gtest.h>

namespace owngil::runtime {
namespace {

// As the launcher does it: the host that this rank's next worker comes to.
std::uint64_t place(HostPlan& plan, std::uint32_t rank, std::uint64_t next) {
  if (plan.host_for(rank) == 0) plan.begin_host(rank, next);
  const std::uint64_t host = plan.host_for(rank);
  plan.use_place(rank);
  return host;
}

TEST(HostPlan, DealsTheRanksOutToItsHosts) {
  HostPlan plan(2, false);
  EXPECT_EQ(place(plan, 0, 10), 10U);
  EXPECT_EQ(place(plan, 1, 20), 20U);
  EXPECT_EQ(place(plan, 2, 30), 10U);
  EXPECT_EQ(place(plan, 3, 30), 20U);
}

TEST(HostPlan, UsesNoPlaceTwiceAndLetsTheOthersFollowToTheNewHost) {
  HostPlan plan(1, false);
  EXPECT_EQ(place(plan, 0, 10), 10U);
  EXPECT_EQ(place(plan, 1, 20), 10U);
  EXPECT_EQ(place(plan, 0, 20), 20U);
  EXPECT_EQ(place(plan, 1, 30), 20U);
  EXPECT_EQ(place(plan, 1, 30), 30U);
}

TEST(HostPlan, NamesTheHostThatANewOneReplaces) {
  HostPlan plan(1, false);
  EXPECT_EQ(plan.begin_host(0, 10), 0U);
  EXPECT_EQ(plan.begin_host(0, 20), 10U);
  EXPECT_EQ(plan.hosts(), (std::vector<std::uint64_t>{20}));
}

TEST(HostPlan, UsesPlacesAgainWhereThatCostsNothing) {
  HostPlan plan(1, true);
  EXPECT_EQ(place(plan, 0, 10), 10U);
  EXPECT_EQ(place(plan, 0, 20), 10U);
  EXPECT_EQ(place(plan, 1, 20), 10U);
}

TEST(HostPlan, GivesANewHostToTheRanksOfOneThatHasEnded) {
  HostPlan plan(2, true);
  EXPECT_EQ(place(plan, 0, 10), 10U);
  EXPECT_EQ(place(plan, 1, 20), 20U);
  plan.lose_host(0);
  EXPECT_EQ(place(plan, 2, 30), 30U);
  EXPECT_EQ(place(plan, 0, 40), 30U);
  EXPECT_EQ(place(plan, 1, 40), 20U);
}

}  // namespace
}  // namespace owngil::runtime

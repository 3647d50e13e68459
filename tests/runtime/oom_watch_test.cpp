// SPDX-License-Identifier: BSD-3-Clause
// The files are played: a folder with a /proc and with mount points of its own.
#include "runtime/oom_watch.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace owngil::runtime {
namespace {

using Verdict = OomEvidence::Verdict;

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr pid_t kPid = 12;

class OomWatchTest : public ::testing::Test {
 protected:
  OomWatchTest() {
    std::string name = std::filesystem::temp_directory_path() / "oom-watch-XXXXXX";
    root_ = ::mkdtemp(name.data());
  }
  ~OomWatchTest() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  void play_version2(const std::string& group, const std::string& mounted = "/") const {
    write("/proc/self/mountinfo",
          "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
          "30 27 0:26 " +
              mounted + " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
    write("/proc/12/cgroup", "0::" + group + "\n");
  }

  void count2(const std::string& group, int kills) const {
    write(
        "/sys/fs/cgroup" + group + "/memory.events",
        "low 0\nhigh 0\nmax 7\noom 9\noom_kill " + std::to_string(kills) + "\noom_group_kill 3\n");
  }

  void play_version1(const std::string& group) const {
    write("/proc/self/mountinfo",
          "30 27 0:26 / /cg/cpu rw,relatime - cgroup cgroup rw,cpu\n"
          "31 27 0:27 / /cg/memory rw,relatime - cgroup cgroup rw,memory\n"
          "32 27 0:28 / /cg/unified rw,relatime - cgroup2 cgroup2 rw\n");
    write("/proc/12/cgroup", "9:name=systemd:/\n4:cpu:/other\n3:memory:" + group + "\n0::/\n");
  }

  void count1(const std::string& group, int kills) const {
    write("/cg/memory" + group + "/memory.oom_control",
          "oom_kill_disable 0\nunder_oom 0\noom_kill " + std::to_string(kills) + "\n");
  }

  std::string root_;
};

TEST_F(OomWatchTest, AKillThatTheCgroupHasCountedIsLikely) {
  play_version2("/pool");
  count2("/pool", 3);
  write("/sys/fs/cgroup/pool/memory.max", "8589934592\n");
  OomWatch watch(root_);
  OomWatch::Group* const group = watch.enter(kPid);
  ASSERT_NE(group, nullptr);
  count2("/pool", 4);
  const OomEvidence evidence = watch.examine(*group, kSecond);
  EXPECT_EQ(evidence.verdict, Verdict::likely);
  EXPECT_EQ(evidence.kills_before, 3U);
  EXPECT_EQ(evidence.kills, 4U);
  EXPECT_EQ(evidence.limit_bytes, std::uint64_t{8} << 30);
  EXPECT_FALSE(evidence.of_system);
}

TEST_F(OomWatchTest, ADeathThatNobodyHasCountedIsNoSuchKill) {
  play_version2("/pool");
  count2("/pool", 3);
  OomWatch watch(root_);
  EXPECT_EQ(watch.examine(*watch.enter(kPid), kSecond).verdict, Verdict::no);
}

TEST_F(OomWatchTest, WhatHadBeenKilledBeforeIsNotHeldAgainstADeath) {
  play_version2("/pool");
  count2("/pool", 3);
  OomWatch watch(root_);
  OomWatch::Group* group = watch.enter(kPid);
  watch.leave(*group);
  count2("/pool", 9);
  group = watch.enter(kPid);
  EXPECT_EQ(watch.examine(*group, kSecond).verdict, Verdict::no);
}

TEST_F(OomWatchTest, TwoKillsAreHeldAgainstTwoDeathsThatAreSeenTogether) {
  play_version2("/pool");
  count2("/pool", 0);
  OomWatch watch(root_);
  OomWatch::Group* const group = watch.enter(kPid);
  ASSERT_EQ(watch.enter(kPid), group);
  count2("/pool", 2);
  EXPECT_EQ(watch.examine(*group, kSecond).verdict, Verdict::likely);
  watch.leave(*group);
  EXPECT_EQ(watch.examine(*group, kSecond + 1).verdict, Verdict::likely);
  EXPECT_EQ(watch.examine(*group, kSecond + 2).verdict, Verdict::no);
}

TEST_F(OomWatchTest, AKillOfSomebodyElseIsNotHeldAgainstADeathMuchLater) {
  play_version2("/pool");
  count2("/pool", 0);
  OomWatch watch(root_);
  OomWatch::Group* const group = watch.enter(kPid);
  count2("/pool", 2);  // this one's, and one of another program in the group
  EXPECT_EQ(watch.examine(*group, kSecond).verdict, Verdict::likely);
  EXPECT_EQ(watch.examine(*group, 3 * kSecond).verdict, Verdict::no);
}

TEST_F(OomWatchTest, AGroupWithoutTheControllerIsCountedInTheOneAboveIt) {
  play_version2("/user/session/scope");
  std::filesystem::create_directories(root_ + "/sys/fs/cgroup/user/session/scope");
  count2("/user", 1);
  OomWatch watch(root_);
  OomWatch::Group* const group = watch.enter(kPid);
  ASSERT_NE(group, nullptr);
  count2("/user", 2);
  EXPECT_EQ(watch.examine(*group, kSecond).verdict, Verdict::likely);
}

TEST_F(OomWatchTest, TheLimitIsTheLowestOfThoseAbove) {
  play_version2("/a/b");
  count2("/a/b", 0);
  write("/sys/fs/cgroup/a/memory.max", "1000000\n");
  write("/sys/fs/cgroup/a/b/memory.max", "max\n");
  OomWatch watch(root_);
  OomWatch::Group* const group = watch.enter(kPid);
  count2("/a/b", 1);
  EXPECT_EQ(watch.examine(*group, kSecond).limit_bytes, 1'000'000U);
}

TEST_F(OomWatchTest, InAContainerOnlyAPartOfTheHierarchyIsMounted) {
  play_version2("/docker/1234/pool", "/docker/1234");
  count2("/pool", 0);
  OomWatch watch(root_);
  OomWatch::Group* const group = watch.enter(kPid);
  ASSERT_NE(group, nullptr);
  count2("/pool", 1);
  EXPECT_EQ(watch.examine(*group, kSecond).verdict, Verdict::likely);
}

TEST_F(OomWatchTest, UnderstandsVersion1) {
  play_version1("/pool");
  count1("/pool", 5);
  write("/cg/memory/pool/memory.limit_in_bytes", "9223372036854771712\n");
  write("/cg/memory/memory.limit_in_bytes", "9223372036854771712\n");
  OomWatch watch(root_);
  OomWatch::Group* const group = watch.enter(kPid);
  ASSERT_NE(group, nullptr);
  count1("/pool", 6);
  const OomEvidence evidence = watch.examine(*group, kSecond);
  EXPECT_EQ(evidence.verdict, Verdict::likely);
  EXPECT_EQ(evidence.kills, 6U);
  EXPECT_EQ(evidence.limit_bytes, 0U);  // as this version writes that there is none
}

TEST_F(OomWatchTest, WithoutACgroupThatCountsTheSystemDoes) {
  play_version2("/");
  write("/proc/vmstat", "nr_free_pages 1\noom_kill 2\npgfault 3\n");
  OomWatch watch(root_);
  OomWatch::Group* const group = watch.enter(kPid);
  ASSERT_NE(group, nullptr);
  write("/proc/vmstat", "nr_free_pages 1\noom_kill 3\npgfault 3\n");
  const OomEvidence evidence = watch.examine(*group, kSecond);
  EXPECT_EQ(evidence.verdict, Verdict::likely);
  EXPECT_TRUE(evidence.of_system);
  EXPECT_EQ(evidence.limit_bytes, 0U);
}

TEST_F(OomWatchTest, WhereNothingCountsNothingIsKnown) {
  play_version2("/");
  OomWatch watch(root_);
  EXPECT_EQ(watch.enter(kPid), nullptr);
  EXPECT_EQ(watch.enter(kPid + 1), nullptr);  // no such process
}

TEST_F(OomWatchTest, ACgroupThatIsGoneTellsNothing) {
  play_version2("/pool");
  count2("/pool", 0);
  OomWatch watch(root_);
  OomWatch::Group* const group = watch.enter(kPid);
  std::filesystem::remove_all(root_ + "/sys/fs/cgroup/pool");
  EXPECT_EQ(watch.examine(*group, kSecond).verdict, Verdict::unknown);
}

TEST_F(OomWatchTest, FilesThatMakeNoSenseTellNothing) {
  for (const char* const text : {"", "oom_kill", "oom_kill ", "oom_kill x\n", "oom_killed 3\n"}) {
    play_version2("/pool");
    write("/sys/fs/cgroup/pool/memory.events", text);
    OomWatch watch(root_);
    EXPECT_EQ(watch.enter(kPid), nullptr) << text;
  }
}

TEST(OomWatch, OfThisMachineCanBeAsked) {
  OomWatch watch;
  OomWatch::Group* const group = watch.enter(::getpid());
  if (group == nullptr) GTEST_SKIP() << "this system does not count kills for lack of memory";
  EXPECT_NE(watch.examine(*group, kSecond).verdict, Verdict::unknown);
  watch.leave(*group);
}

}  // namespace
}  // namespace owngil::runtime

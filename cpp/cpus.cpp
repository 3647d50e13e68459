// SPDX-License-Identifier: BSD-3-Clause
#include "cpp/cpus.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace owngil::cpp {
namespace {

const std::string kCgroups = "/sys/fs/cgroup";

unsigned in_affinity() {
  for (std::size_t cpus = 1024; cpus <= (std::size_t{1} << 20); cpus *= 2) {
    const std::size_t size = CPU_ALLOC_SIZE(cpus);
    std::vector<std::byte> set(size);
    auto* const mask = reinterpret_cast<cpu_set_t*>(set.data());
    if (::sched_getaffinity(0, size, mask) == 0) {
      return static_cast<unsigned>(CPU_COUNT_S(size, mask));
    }
  }
  return std::max(1U, std::thread::hardware_concurrency());
}

// In CPUs. Version 2 has quota and period in one file.
std::optional<double> read_quota(const std::string& folder, bool version2) {
  std::ifstream file(folder + (version2 ? "/cpu.max" : "/cpu.cfs_quota_us"));
  double quota = 0;
  double period = 0;
  if (!(file >> quota) || quota <= 0) return std::nullopt;  // "max", or -1
  if (version2) {
    file >> period;
  } else {
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return period > 0 ? std::optional(quota / period) : std::nullopt;
}

bool has_word(const std::string& list, const std::string& word) {
  return ("," + list + ",").find("," + word + ",") != std::string::npos;
}

// The smallest of this process's cgroups and of those that they are in.
std::optional<double> quota() {
  std::optional<double> least;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const bool version2 = line.substr(0, first) == "0";
    if (!version2 && !has_word(line.substr(first + 1, second - first - 1), "cpu")) continue;
    std::string path = line.substr(second + 1);
    // A container may see its own group as the root, and what lies above not at all.
    while (true) {
      while (path.ends_with('/')) path.pop_back();
      const auto found = read_quota(kCgroups + (version2 ? "" : "/cpu") + path, version2);
      if (found) least = std::min(*found, least.value_or(*found));
      if (path.empty()) break;
      path.erase(path.rfind('/'));
    }
  }
  return least;
}

}  // namespace

unsigned usable_cpus() {
  const unsigned cpus = in_affinity();
  const std::optional<double> limit = quota();
  if (!limit) return cpus;
  return std::max(1U, std::min(cpus, static_cast<unsigned>(std::ceil(*limit))));
}

}  // namespace owngil::cpp

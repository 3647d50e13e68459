// SPDX-License-Identifier: BSD-3-Clause
// Which of a pool's hosts a worker is to live in.
//
// The ranks are dealt out to `hosts` groups, each of which lives in one process at a time. Where an
// interpreter that ends leaves memory behind (python/owngil/_cpython.py says where), a place in a host
// is used once: the next worker of a rank comes to a new host, which the others of its group follow
// to, one by one, as they are replaced. The old one ends with the last who stayed.
// Threads: its owner's mutex.
// Not: a process. The plan names hosts; a host is started with its first worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace owngil::runtime {

class HostPlan {
 public:
  HostPlan(std::uint32_t hosts, bool reuses_places)
      : reuses_places_(reuses_places), groups_(hosts) {}

  // 0: there is none, or its place there has been used: call begin_host().
  [[nodiscard]] std::uint64_t host_for(std::uint32_t rank) const {
    const Group& group = group_of(rank);
    const std::size_t place = rank / groups_.size();
    return place < group.used.size() && group.used[place] ? 0 : group.host;
  }

  // The group of this rank moves to a new host. Returns the former one; 0: there was none.
  std::uint64_t begin_host(std::uint32_t rank, std::uint64_t host) {
    Group& group = group_of(rank);
    const std::uint64_t before = group.host;
    group = {host, {}};
    return before;
  }

  void use_place(std::uint32_t rank) {
    if (reuses_places_) return;
    Group& group = group_of(rank);
    const std::size_t place = rank / groups_.size();
    if (place >= group.used.size()) group.used.resize(place + 1);
    group.used[place] = true;
  }

  // The host of this rank has ended.
  void lose_host(std::uint32_t rank) { group_of(rank) = {}; }

  [[nodiscard]] std::vector<std::uint64_t> hosts() const {
    std::vector<std::uint64_t> all;
    for (const Group& group : groups_) {
      if (group.host != 0) all.push_back(group.host);
    }
    return all;
  }

 private:
  struct Group {
    std::uint64_t host = 0;
    std::vector<bool> used;  // by place: rank / groups
  };

  [[nodiscard]] Group& group_of(std::uint32_t rank) { return groups_[rank % groups_.size()]; }
  [[nodiscard]] const Group& group_of(std::uint32_t rank) const {
    return groups_[rank % groups_.size()];
  }

  bool reuses_places_;
  std::vector<Group> groups_;
};

}  // namespace owngil::runtime

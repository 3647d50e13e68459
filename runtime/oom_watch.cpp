// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/oom_watch.hpp"

#include "ipc/unique_fd.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string_view>
#include <utility>

namespace owngil::runtime {

namespace {

constexpr std::uint64_t kMemoryNs = 1'000'000'000;
constexpr std::size_t kMostBytes = 1 << 20;
// Version 1 writes a number like this where there is no limit.
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 62;

std::optional<std::string> read_file(const std::string& path) {
  const ipc::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  std::string text;
  char buffer[4096];
  ssize_t size = 0;
  while (text.size() < kMostBytes && (size = ::read(fd.get(), buffer, sizeof buffer)) > 0) {
    text.append(buffer, static_cast<std::size_t>(size));
  }
  if (size < 0) return std::nullopt;
  return text;
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> read_count(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return std::nullopt;
  constexpr std::string_view kName = "oom_kill ";
  for (std::string_view rest = *text; !rest.empty();) {
    if (rest.starts_with(kName)) return number(rest.substr(kName.size()));
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  return std::nullopt;
}

std::string parent(const std::string& directory) {
  return directory.substr(0, directory.find_last_of('/'));
}

// The lowest of the limits of a cgroup and of those above it; 0: there is none.
std::uint64_t lowest_limit(const std::string& directory, const std::string& top,
                           const std::string& name) {
  std::uint64_t lowest = kNoLimit;
  for (std::string at = directory; at.size() >= top.size() && !at.empty(); at = parent(at)) {
    const auto text = read_file(at + "/" + name);
    const auto limit = text ? number(*text) : std::nullopt;  // "max" is no number
    if (limit) lowest = std::min(lowest, *limit);
  }
  return lowest < kNoLimit ? lowest : 0;
}

// As mountinfo writes what would end a word.
std::string unescaped(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(&text[i + 1], &text[i] + 4, value, 8).ptr == &text[i] + 4) {
      plain += static_cast<char>(value);
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

bool has_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(','), list.size());
    if (list.substr(0, end) == word) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

}  // namespace

OomWatch::OomWatch(std::string root) : root_(std::move(root)) {}

OomWatch::~OomWatch() = default;

void OomWatch::read_mounts() {
  mounts_known_ = true;
  std::istringstream lines(read_file(root_ + "/proc/self/mountinfo").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    // id parent device root point options … - type source super-options
    std::istringstream words(line);
    std::string skip;
    std::string root;
    std::string point;
    std::string type;
    std::string options;
    words >> skip >> skip >> skip >> root >> point;
    while (words >> skip && skip != "-") {
    }
    words >> type >> skip >> options;
    const bool version1 = type == "cgroup" && has_word(options, "memory");
    if (!version1 && type != "cgroup2") continue;
    (version1 ? version1_ : version2_) = Mount{unescaped(root), root_ + unescaped(point)};
  }
}

// "1/path" or "2/path"; empty: there is no such process, or no cgroup that could count.
std::string OomWatch::group_of(pid_t pid) const {
  std::istringstream lines(
      read_file(root_ + "/proc/" + std::to_string(pid) + "/cgroup").value_or(""));
  std::string of_version2;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string path = line.substr(second + 1);
    if (has_word(std::string_view(line).substr(first + 1, second - first - 1), "memory")) {
      return "1" + path;
    }
    if (line.starts_with("0::")) of_version2 = "2" + path;
  }
  return of_version2;
}

OomWatch::Group OomWatch::locate(const std::string& path) const {
  Group group;
  const bool version1 = path.starts_with('1');
  const auto& mount = version1 ? version1_ : version2_;
  const std::string counter = version1 ? "memory.oom_control" : "memory.events";
  group.limit = version1 ? "memory.limit_in_bytes" : "memory.max";
  if (mount) {
    std::string below = path.substr(1);
    // In a container the mount may show a part of the hierarchy only.
    if (mount->root != "/" && below.starts_with(mount->root)) below.erase(0, mount->root.size());
    if (below == "/") below.clear();
    for (std::string at = mount->point + below; at.size() >= mount->point.size(); at = parent(at)) {
      if (!read_count(at + "/" + counter)) continue;
      group.directory = at;
      group.top = mount->point;
      group.counter = at + "/" + counter;
      return group;
    }
  }
  group.counter = root_ + "/proc/vmstat";
  return group;
}

OomWatch::Group* OomWatch::enter(pid_t pid) {
  if (!mounts_known_) read_mounts();
  const std::string path = group_of(pid);
  if (path.empty()) return nullptr;
  auto found = groups_.find(path);
  if (found == groups_.end()) found = groups_.emplace(path, locate(path)).first;
  Group& group = found->second;
  if (group.processes == 0) {
    const auto count = read_count(group.counter);
    if (!count) {
      groups_.erase(found);
      return nullptr;
    }
    group.accounted = group.read = *count;
  }
  ++group.processes;
  return &group;
}

OomEvidence OomWatch::examine(Group& group, std::uint64_t now_ns) {
  const auto count = read_count(group.counter);
  if (!count) return {};
  if (now_ns - group.read_ns > kMemoryNs) group.accounted = group.read;
  OomEvidence evidence{.verdict = OomEvidence::Verdict::no,
                       .of_system = group.directory.empty(),
                       .kills_before = group.accounted,
                       .kills = *count};
  if (*count > group.accounted) {
    evidence.verdict = OomEvidence::Verdict::likely;
    if (!evidence.of_system) {
      evidence.limit_bytes = lowest_limit(group.directory, group.top, group.limit);
    }
    ++group.accounted;
  }
  group.read = *count;
  group.read_ns = now_ns;
  return evidence;
}

void OomWatch::leave(Group& group) {
  if (--group.processes > 0) return;
  std::erase_if(groups_, [&group](const auto& entry) { return &entry.second == &group; });
}

}  // namespace owngil::runtime

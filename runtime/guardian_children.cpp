// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/guardian_children.hpp"

#include <dirent.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

namespace owngil::runtime {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// Nothing: there is no such file.
std::optional<std::string> text_of(const std::string& path) {
  const File file(std::fopen(path.c_str(), "re"));
  if (!file) return std::nullopt;
  std::string text;
  char part[4096];
  while (const std::size_t size = std::fread(part, 1, sizeof part, file.get())) {
    text.append(part, size);
  }
  return text;
}

std::vector<pid_t> numbers_in(const std::string& text) {
  std::istringstream words(text);
  std::vector<pid_t> numbers;
  for (pid_t number = 0; words >> number;) numbers.push_back(number);
  return numbers;
}

// The rest of the line that begins with `name`.
std::string field(const std::string& text, const std::string& name) {
  const std::size_t found = ("\n" + text).find("\n" + name);
  if (found == std::string::npos) return {};
  const std::size_t begin = found + name.size();
  return text.substr(begin, text.find('\n', begin) - begin);
}

struct Stat {
  char state = '?';
  pid_t parent = 0;
};

// The name before it may hold anything, ')' too.
Stat stat_of(const std::string& process) {
  Stat stat;
  const std::string text = text_of("/proc/" + process + "/stat").value_or("");
  const std::size_t name_end = text.rfind(')');
  if (name_end != std::string::npos) {
    std::sscanf(text.c_str() + name_end + 1, " %c %d", &stat.state, &stat.parent);
  }
  return stat;
}

// What this process is called there.
std::string name_in_proc() {
  char name[32];
  const ssize_t size = ::readlink("/proc/self", name, sizeof name);
  return size > 0 ? std::string(name, static_cast<std::size_t>(size)) : std::string();
}

std::vector<pid_t> children_by_scan(pid_t self) {
  std::vector<pid_t> found;
  DIR* const proc = ::opendir("/proc");
  if (proc == nullptr) return found;
  while (const dirent* const entry = ::readdir(proc)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    if (stat_of(entry->d_name).parent == self) found.push_back(std::atoi(entry->d_name));
  }
  ::closedir(proc);
  return found;
}

// One number for each PID namespace in which the process is seen, the outermost first.
std::vector<pid_t> numbers_of(const std::string& process) {
  return numbers_in(field(text_of("/proc/" + process + "/status").value_or(""), "NSpid:"));
}

std::vector<pid_t> translated(const std::vector<pid_t>& numbers) {
  const std::size_t depth = numbers_of("self").size();
  std::vector<pid_t> found;
  for (const pid_t number : numbers) {
    const std::vector<pid_t> names = numbers_of(std::to_string(number));
    if (depth > 0 && names.size() >= depth) found.push_back(names[depth - 1]);
  }
  return found;
}

}  // namespace

std::vector<pid_t> children() {
  const std::string self = name_in_proc();
  const auto listed = text_of("/proc/self/task/" + self + "/children");
  // Without it, the kernel lacks CONFIG_PROC_CHILDREN.
  const std::vector<pid_t> numbers =
      listed ? numbers_in(*listed) : children_by_scan(std::atoi(self.c_str()));
  return self == std::to_string(::getpid()) ? numbers : translated(numbers);
}

pid_t number_in_proc(int pidfd) {
  const auto info = text_of("/proc/self/fdinfo/" + std::to_string(pidfd));
  return info ? std::atoi(field(*info, "Pid:").c_str()) : 0;
}

bool is_stopped(pid_t number_in_proc) {
  return stat_of(std::to_string(number_in_proc)).state == 'T';
}

}  // namespace owngil::runtime

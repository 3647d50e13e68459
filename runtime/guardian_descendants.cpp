// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/guardian_descendants.hpp"

#include <dirent.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace owngil::runtime {
namespace {

constexpr int kPassMs = 10;
constexpr int kMaxPasses = 30'000 / kPassMs;

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// The parent of `process`, or 0 if it is gone. The name before it may hold anything, ')' too.
pid_t parent_of(const char* process) {
  const File file(std::fopen((std::string("/proc/") + process + "/stat").c_str(), "re"));
  if (!file) return 0;
  char line[512];
  const std::size_t size = std::fread(line, 1, sizeof line - 1, file.get());
  const std::string text(line, size);
  const std::size_t name_end = text.rfind(')');
  int parent = 0;
  if (name_end == std::string::npos ||
      std::sscanf(text.c_str() + name_end + 1, " %*c %d", &parent) != 1) {
    return 0;
  }
  return parent;
}

std::vector<pid_t> children_by_scan() {
  std::vector<pid_t> children;
  DIR* const proc = ::opendir("/proc");
  if (proc == nullptr) return children;
  const pid_t self = ::getpid();
  while (const dirent* const entry = ::readdir(proc)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    if (parent_of(entry->d_name) == self) children.push_back(std::atoi(entry->d_name));
  }
  ::closedir(proc);
  return children;
}

std::vector<pid_t> children() {
  const std::string pid = std::to_string(::getpid());
  const File file(std::fopen(("/proc/self/task/" + pid + "/children").c_str(), "re"));
  if (!file) return children_by_scan();  // a kernel without CONFIG_PROC_CHILDREN
  std::vector<pid_t> found;
  int child = 0;
  while (std::fscanf(file.get(), "%d", &child) == 1) found.push_back(child);
  return found;
}

void forget_signals(int child_signals) {
  signalfd_siginfo info;
  while (::read(child_signals, &info, sizeof info) > 0) {
  }
}

}  // namespace

void kill_descendants(int child_signals) {
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    for (const pid_t child : children()) ::kill(child, SIGKILL);
    pid_t reaped = 0;
    do {
      reaped = ::waitpid(-1, nullptr, WNOHANG | __WALL);
    } while (reaped > 0);
    if (reaped < 0 && errno == ECHILD) return;
    pollfd died{child_signals, POLLIN, 0};
    ::poll(&died, 1, kPassMs);
    forget_signals(child_signals);
  }
}

}  // namespace owngil::runtime

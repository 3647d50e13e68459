// SPDX-License-Identifier: BSD-3-Clause
// owngil-host: a program that embeds CPython, for where there is no python3 to start workers from.
//
// It takes the command line of `python` and does the same, so the stub of owngil._bootstrap makes a
// template or a worker of it, and templates and spawned workers start this very program again.
// Threads: one. Not: what is started where a python3 that fits is at hand: a program linked to
// libpython.so runs Python up to 1.85 times slower than one that has it inside (./dev bench embed).
#include "workers/python.hpp"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

namespace {

// What getpath looks for the standard library from, and what sys.executable will be.
std::string own_path() {
  std::array<char, 4096> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  return size > 0 ? std::string(path.data(), static_cast<std::size_t>(size)) : std::string();
}

// A virtual environment is known by the place of its python; $VIRTUAL_ENV says which is meant.
std::string path_in_environment() {
  const char* const folder = std::getenv("VIRTUAL_ENV");
  if (folder == nullptr || *folder == '\0') return {};
  const std::string config = std::string(folder) + "/pyvenv.cfg";
  return ::access(config.c_str(), R_OK) == 0 ? std::string(folder) + "/bin/python" : std::string();
}

PyStatus configure(PyConfig& config, int argc, char** argv) {
  PyConfig_InitPythonConfig(&config);
  config.parse_argv = 1;
  PyStatus status = PyConfig_SetBytesArgv(&config, argc, argv);
  if (PyStatus_Exception(status)) return status;
  std::string path = path_in_environment();
  if (path.empty()) path = own_path();
  return PyConfig_SetBytesString(&config, &config.executable, path.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  PyConfig config;
  PyStatus status = configure(config, argc, argv);
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (PyStatus_IsExit(status)) return status.exitcode;
  if (PyStatus_Exception(status)) Py_ExitStatusException(status);
  return Py_RunMain();
}

// SPDX-License-Identifier: BSD-3-Clause
// Runs a real Python for a test and takes what it writes.
//
// Lifetime: none. Not: a worker.
#pragma once

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <owngil/value.hpp>
#include <span>
#include <string>
#include <system_error>

namespace owngil::testing {

// A file of one's own, removed at the end.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::span<const std::byte> bytes) {
    std::string name = (std::filesystem::temp_directory_path() / "owngil-test-XXXXXX").string();
    const int fd = ::mkstemp(name.data());
    if (fd >= 0) ::close(fd);
    path_ = name;
    std::ofstream file(path_, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Its stdout. `arguments` need no quoting. A Python that fails fails the test.
inline Bytes run_python(const std::string& code, const std::string& arguments = {}) {
  const TemporaryFile script(std::as_bytes(std::span(code)));
  const std::string command =
      std::string(OWNGIL_TEST_PYTHON) + " -I " + script.path() + " " + arguments;
  FILE* const pipe = ::popen(command.c_str(), "r");
  Bytes all;
  std::byte part[4096];
  while (const std::size_t got = std::fread(part, 1, sizeof part, pipe)) {
    all.insert(all.end(), part, part + got);
  }
  EXPECT_EQ(::pclose(pipe), 0) << command;
  return all;
}

}  // namespace owngil::testing

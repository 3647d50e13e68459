// SPDX-License-Identifier: BSD-3-Clause
// An interpreter beside the main one of this process, with a GIL and memory of its own.
//
// Threads: one OS thread makes it, runs it and ends it; it has this interpreter's GIL in between.
// Processes: a host's, and no other: with such an interpreter alive fork() kills the child.
// Lifetime: on destruction its threads are joined and its exit functions run.
// Not: a worker. What it runs is its owner's.
#pragma once

#include "workers/python.hpp"

#include <string>

namespace owngil::workers {

class OwnGilInterpreter {
 public:
  // `main`: the process's own interpreter, which nobody may keep busy. On return the calling thread
  // is in the new one. `alone`: no other one of the process may begin or end at the same time.
  // Throws std::runtime_error; then the thread is in none, as before.
  OwnGilInterpreter(PyInterpreterState* main, bool alone);
  OwnGilInterpreter(const OwnGilInterpreter&) = delete;
  OwnGilInterpreter& operator=(const OwnGilInterpreter&) = delete;
  ~OwnGilInterpreter();

  // Runs this in its `__main__`, and tells stderr what it raises. Returns the int in `code` there;
  // 1 if it raises, or leaves none.
  [[nodiscard]] int run(const std::string& source) noexcept;

 private:
  const bool alone_;
  PyThreadState* thread_ = nullptr;
};

}  // namespace owngil::workers

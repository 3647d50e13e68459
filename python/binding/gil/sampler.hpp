// SPDX-License-Identifier: BSD-3-Clause
// Looks at one GIL at a fixed pace: which thread holds it, and which threads wait for it.
//
// Threads: `run` blocks the thread that calls it, without the GIL; `stop` and `take` may be called
// by any other meanwhile. Lifetime: the interpreter must outlive `run`.
// Not: exact. What is shorter than the pace is seen by chance. It never takes the GIL.
#pragma once

#include "python/binding/gil/gil_view.h"

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace owngil::gil {

// What one thread did with the GIL, from one sample to another.
struct Slice {
  int thread = 0;
  bool holds = false;  // or waits
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

struct Sampled {
  std::uint64_t samples = 0;
  std::uint64_t held = 0;                // samples in which somebody held it
  std::uint64_t waited_for = 0;          // samples in which somebody waited for it
  std::map<int, std::uint64_t> holding;  // thread -> samples
  std::map<int, std::uint64_t> waiting;  // thread -> samples
  std::uint64_t switches = 0;            // of the GIL, all of them
  std::uint64_t dropped = 0;             // slices for which there was no room
  std::int64_t cpu_ns = 0;               // what the sampling itself took
  bool sees_waiters = false;             // the kernel tells where threads wait
  std::vector<Slice> slices;             // if they are kept, those that have ended
};

class Sampler {
 public:
  Sampler(const owngil_gil_view& view, std::int64_t interval_ns, bool keep_slices);

  // Samples for so long, or until stop().
  void run(std::int64_t limit_ns);
  void stop();
  // What was found since the last call.
  Sampled take();

 private:
  class Threads;

  void sample(Threads& threads, std::int64_t now_ns);
  void continue_slice(int thread, bool holds, std::int64_t now_ns);
  void end_slices(std::int64_t now_ns);
  [[nodiscard]] int holder() const;

  // Immutable after construction.
  const owngil_gil_view view_;
  const std::int64_t interval_ns_;
  const bool keep_slices_;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::condition_variable stopping_;
  bool stop_ = false;
  Sampled found_;
  struct Open {
    std::int64_t begin_ns = 0;
    std::int64_t last_ns = 0;
  };
  std::map<std::pair<int, bool>, Open> open_;
  unsigned long first_switch_ = 0;
};

}  // namespace owngil::gil

// SPDX-License-Identifier: BSD-3-Clause
// One `map`: its encoded items, cut into segments as workers become free.
//
// Threads: guarded by the supervisor's mutex; a complete segment may be read by the handle's holder.
// Lifetime: until it is released and no worker has one of its segments any more.
// Invariants:
//   M1  The segments are a list in the order of the items, without gaps; what is not in one yet
//       is [cut, added).
//   M2  A segment is a task: it is assigned, taken back and completed like a call.
#pragma once

#include "runtime/growing_bytes.hpp"
#include "runtime/task.hpp"

#include <cstdint>
#include <optional>

namespace owngil::runtime {

struct MapJob;

struct Segment : Task {
  MapJob* job{nullptr};
  std::uint32_t count{0};
  std::size_t begin{0};  // of its items in the job's bytes
  std::size_t end{0};
  std::uint64_t sent_ns{0};
  Segment* following{nullptr};  // the segment of the next items

  Segment() = default;
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment() { delete terms; }
};

struct MapJob {
  std::uint32_t function{0};
  std::uint32_t context{0};
  std::uint32_t chunk_size{0};  // items of a segment; 0: by measured duration
  GrowingBytes items;           // one after the other (ipc/item.hpp)
  std::uint64_t added{0};       // items in `items`
  std::uint64_t cut{0};         // items that are in segments
  std::size_t cut_offset{0};
  std::uint64_t item_ns{0};  // measured; 0: not yet
  Segment* first{nullptr};   // the oldest segment that was not consumed
  Segment* last{nullptr};
  std::uint32_t live{0};         // segments that are not complete
  std::uint64_t unread{0};       // bytes of results that were not consumed
  Task anchor;                   // stands in the backlog for [cut, added)
  std::optional<Policy> policy;  // of each item
  std::optional<Agenda::Entry> deadline;
  bool expired{false};  // its deadline has come: nothing of it is to begin
  bool queued{false};   // the anchor is in the backlog
  bool handle{true};
  bool waited{false};       // a thread waits for its first segment
  bool has_buffers{false};  // some of its items name buffers
  bool counted{false};      // among the supervisor's pending work

  bool is_finished() const { return live == 0 && cut == added; }
};

// How the next segment is cut.
struct CutRules {
  // Long enough that sending it costs a fraction of a percent; short enough that it ends soon.
  static constexpr std::uint64_t kTargetNs = 8'000'000;
  static constexpr std::uint64_t kMaxItems = 32'768;
  static constexpr std::size_t kMaxBytes = 512 * 1024;
};

// How many of the remaining items the next segment gets. Requires: some remain.
// Guided self-scheduling (Polychronopoulos and Kuck, 1987) below a target duration.
std::uint64_t segment_items(const MapJob& job, std::uint32_t workers);

// Cuts that many items, or as many as fit kMaxBytes, off what remains; appends the segment.
Segment& cut_segment(MapJob& job, std::uint64_t items);

// Cuts all that remains into one segment. Requires: some remain.
Segment& cut_all(MapJob& job);

// Leaves the first `items` in the segment; returns a new one behind it with the rest.
// Requires: 0 < items < segment.count.
Segment& split_segment(Segment& segment, std::uint32_t items);

// Keeps the first `count` of some items, or results.
void keep_first(HeapBytes& items, std::uint64_t count);

// Skips `count` items from `begin`; returns where the next one starts.
std::size_t skip_items(const MapJob& job, std::size_t begin, std::uint64_t count);

// Forgets the bytes of items that are done, once they are most of what is kept: a map without an
// end must not keep them all.
void drop_done_items(MapJob& job);

}  // namespace owngil::runtime

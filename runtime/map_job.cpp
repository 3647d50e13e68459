// SPDX-License-Identifier: BSD-3-Clause
#include "runtime/map_job.hpp"

#include "ipc/item.hpp"

#include <algorithm>
#include <span>

namespace owngil::runtime {

namespace {

// Of what nobody else can have written, or what the supervisor has looked at: it is whole.
std::size_t item_bytes(std::span<const std::byte> rest) { return ipc::read_item(rest)->end(); }

std::size_t item_bytes(const MapJob& job, std::size_t offset) {
  return item_bytes({job.items.data() + offset, job.items.size() - offset});
}

// One that is not in the list yet, and not complete.
Segment* new_segment(MapJob& job) {
  auto* segment = new Segment;
  segment->kind = ipc::TaskKind::chunk;
  segment->place = Task::Place::job;
  segment->handle = true;
  segment->job = &job;
  segment->function = job.function;
  segment->context = job.context;
  ++job.live;
  return segment;
}

}  // namespace

std::uint64_t segment_items(const MapJob& job, std::uint32_t workers) {
  const std::uint64_t remaining = job.added - job.cut;
  if (job.chunk_size != 0) return std::min<std::uint64_t>(job.chunk_size, remaining);
  if (job.item_ns == 0) return 1;
  const std::uint64_t timely = std::max<std::uint64_t>(CutRules::kTargetNs / job.item_ns, 1);
  const std::uint64_t guided = remaining / (2 * std::uint64_t{workers});
  return std::clamp<std::uint64_t>(std::min(timely, guided), 1,
                                   std::min(remaining, CutRules::kMaxItems));
}

Segment& cut_segment(MapJob& job, std::uint64_t items) {
  items = std::min(items, job.added - job.cut);
  Segment* segment = new_segment(job);
  segment->begin = segment->end = job.cut_offset;
  do {
    segment->end += item_bytes(job, segment->end);
    ++segment->count;
  } while (segment->count < items &&
           (job.chunk_size != 0 || segment->end - segment->begin < CutRules::kMaxBytes));
  job.cut += segment->count;
  job.cut_offset = segment->end;
  (job.last != nullptr ? job.last->following : job.first) = segment;
  job.last = segment;
  return *segment;
}

Segment& cut_all(MapJob& job) {
  job.chunk_size = static_cast<std::uint32_t>(job.added - job.cut);
  return cut_segment(job, job.chunk_size);
}

void keep_first(HeapBytes& items, std::uint64_t count) {
  std::size_t size = 0;
  for (; count > 0; --count) size += item_bytes({items.data + size, items.size - size});
  items.size = size;
}

Segment& split_segment(Segment& segment, std::uint32_t items) {
  MapJob& job = *segment.job;
  Segment* rest = new_segment(job);
  rest->begin = skip_items(job, segment.begin, items);
  rest->end = segment.end;
  rest->count = segment.count - items;
  rest->following = segment.following;
  segment.end = rest->begin;
  segment.count = items;
  segment.following = rest;
  if (job.last == &segment) job.last = rest;
  return *rest;
}

std::size_t skip_items(const MapJob& job, std::size_t begin, std::uint64_t count) {
  for (; count > 0; --count) begin += item_bytes(job, begin);
  return begin;
}

void drop_done_items(MapJob& job) {
  std::size_t needed = job.cut_offset;
  for (const Segment* segment = job.first; segment != nullptr; segment = segment->following) {
    if (!segment->is_complete()) needed = std::min(needed, segment->begin);
  }
  if (needed <= job.items.size() / 2) return;
  job.items.drop_front(needed);
  job.cut_offset -= needed;
  for (Segment* segment = job.first; segment != nullptr; segment = segment->following) {
    if (segment->is_complete()) continue;
    segment->begin -= needed;
    segment->end -= needed;
  }
}

}  // namespace owngil::runtime

// SPDX-License-Identifier: BSD-3-Clause
// Every byte that the user's process and a worker share.
//
// Processes: each struct below names its single writer; LAYOUT.md draws the same bytes.
// Lifetime: the user's process creates the memory and seals it; a worker only maps it.
// Not: a protocol. Who stores what in which order stands in channel.hpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace owngil::ipc {

// Two 64-byte lines: the adjacent-line prefetcher of x86-64 fetches them as a pair.
inline constexpr std::size_t kLineBytes = 128;
inline constexpr std::size_t kSlotBytes = 128;
inline constexpr std::size_t kHugePage = std::size_t{2} << 20;
inline constexpr std::size_t kPageBytes = 4096;
constexpr std::uint64_t rounded_up(std::uint64_t n, std::uint64_t to) {
  return (n + to - 1) / to * to;
}
constexpr std::uint64_t whole_pages(std::uint64_t size) { return rounded_up(size, kPageBytes); }
inline constexpr std::uint64_t kRingSlots = 256;  // a power of two: slot = position & (n - 1)
inline constexpr std::uint64_t kReleaseSlots = 512;
inline constexpr std::uint64_t kReturnSlots = 512;
inline constexpr std::size_t kInlineBytes = 80;

// "OWNGIL" and the number of this layout; the build's hash follows it in the header.
inline constexpr std::uint64_t kMagic = 0x0001'4C49'474E'574FULL;

// A run of bytes in an arena. Which arena follows from the direction: a task's lies in the
// pool's argument arena, a result's in the worker's result arena.
struct BlockRef {
  std::uint64_t offset;
  std::uint64_t size;
};

// How the bytes of a payload are to be read. ipc/ does not look inside.
enum class Format : std::uint8_t {
  none = 0,     // no bytes at all
  tagged = 1,   // workers/codec.hpp
  pickle = 2,   // pickle protocol 5
  failure = 3,  // what owngil._pickling.dump_exception made
  blob = 4,     // what owngil._functions or owngil._context made
  buffers = 5,  // references to blocks that hold large buffers, then a pickle (buffer_list.hpp)
};

enum class Where : std::uint8_t { inline_bytes = 0, block = 1 };

enum class TaskKind : std::uint8_t {
  call = 1,        // one call: payload is (args, kwargs)
  chunk = 2,       // `count` calls: payload is `count` items (item.hpp)
  define = 3,      // `function` is the number of the blob in the payload, from now on
  forget = 4,      // `function` is not used again
  initialize = 5,  // like call; its failure ends the worker
  stop = 6,        // nothing follows: leave in order
};

enum class Status : std::uint8_t {
  returned = 1,  // payload is the value
  raised = 2,    // payload is a failure
  chunk = 3,     // payload is a chain of blocks that hold `count` items
  refused = 4,   // not begun: this kind of worker cannot run it; payload is what it lacks, as text
};

// One message of the task ring. Writer: the user's process, but for `claim`.
struct alignas(kSlotBytes) TaskSlot {
  // position << 2 | ClaimState. Compare-and-swap by either side; a hint that the
  // supervisor's private table confirms.
  std::atomic<std::uint64_t> claim;
  std::uint64_t task;
  std::uint32_t function;  // number of a blob
  std::uint32_t context;   // number of a blob; 0: none
  std::uint32_t size;      // of the inline payload, bytes
  std::uint32_t count;     // items of a chunk; else 1
  TaskKind kind;
  Format format;
  Where where;
  std::uint8_t flags;      // TaskFlag
  std::uint32_t retry_on;  // number of a blob: which exceptions are worth another run; 0: none
  std::uint64_t reserved2;
  union {
    std::byte bytes[kInlineBytes];
    BlockRef block;
  };
};

enum TaskFlag : std::uint8_t {
  kTimed = 1,  // it has a time limit: of a chunk, each item says when it has begun
};

enum class ClaimState : std::uint64_t { free = 0, worker = 1, taken_back = 2 };

// One message of the result ring. Writer: the worker.
struct alignas(kSlotBytes) ResultSlot {
  std::uint64_t task;
  std::uint64_t run_ns;    // from begun to encoded
  std::uint64_t position;  // of the task in the task ring
  std::uint32_t size;      // of the inline payload, bytes
  std::uint32_t count;     // items of a chunk; else 1
  Status status;
  Format format;
  Where where;
  std::uint8_t flags;  // ResultFlag
  std::uint32_t reserved;
  std::uint64_t ended_ns;  // CLOCK_MONOTONIC, when it was encoded
  union {
    std::byte bytes[kInlineBytes];
    BlockRef block;
  };
};

enum ResultFlag : std::uint8_t {
  kPrinted = 1,    // the worker may have printed or logged since its last result
  kRetryable = 2,  // what was raised is one of those that `retry_on` names; also an item's flag
  kLast = 4,       // the worker leaves: it claims no more tasks
  // This kind of worker cannot run the function, as it turned out on the way. What of a chunk is
  // not among its items was not begun.
  kUnfit = 8,
};

// The first byte of every item of a chunk, in both directions (item.hpp reads and writes them).
// Up to `longest_short` it is the size of a short one, which is tagged and has returned.
enum class ItemMark : std::uint8_t {
  longest_short = 0xFC,
  header = 0xFD,      // an ItemHeader follows, then the bytes
  untold = 0xFE,      // nothing follows: it failed, and there was no memory to tell how
  next_block = 0xFF,  // no item: they go on in the next block of the chain
};
struct ItemHeader {
  std::uint32_t size;
  Format format;
  Status status;        // of a result; `returned` in a task
  std::uint16_t flags;  // ResultFlag
};

// Opens every block of a chunk's results. Writer: the worker.
struct ChainHeader {
  BlockRef next;  // size 0: this is the last block
};

// --- the channel: one memfd for each worker ---------------------------------------------

// Writer: the user's process, before the worker exists.
struct alignas(kLineBytes) ChannelHeader {
  std::uint64_t magic;
  std::uint64_t build;  // hash of the build; see build_id.hpp
  std::uint32_t rank;
  std::uint32_t may_refuse;    // 1: what this kind of worker cannot run goes to another kind
  std::uint64_t generation;    // how many workers have had this rank before
  std::uint64_t memory_limit;  // private bytes with which it takes no further task; 0: no limit
};

// A counter with a line of its own, so that its two sides never share one by accident.
struct alignas(kLineBytes) Counter {
  std::atomic<std::uint64_t> value;
};

// Writer: the user's process.
struct alignas(kLineBytes) Orders {
  std::atomic<std::uint64_t> notify_at;  // ring the bell once result_tail has reached this
  std::atomic<std::uint64_t> spin_ns;    // how long the worker may spin for its next task
  std::atomic<std::uint64_t> stop_task;  // the task that is to stop; a chunk begins no more items
};

// Writer: the worker.
struct alignas(kLineBytes) SleepWord {
  // Odd: asleep, or about to be. The futex it sleeps on is the low half of task_tail: a word that
  // whoever wakes it has changed, so that no wake-up is lost before the sleep has begun.
  std::atomic<std::uint32_t> epoch;
};

enum class WorkerState : std::uint32_t { none = 0, ready = 1, leaving = 2, mismatch = 3 };

// Writer: the worker. What it is doing, for whoever has to find out after its death.
struct alignas(kLineBytes) Current {
  std::atomic<std::uint64_t> task;          // begun; stored before the task is decoded
  std::atomic<std::uint64_t> progress;      // items of the chunk whose results are complete
  std::atomic<std::uint64_t> chain_offset;  // first block of the chunk's results
  std::atomic<std::uint64_t> chain_size;
  std::atomic<std::uint64_t> begun_ns;  // CLOCK_MONOTONIC; of a timed chunk: of the item, 0: none
  std::atomic<std::uint32_t> state;     // WorkerState
  std::atomic<std::uint32_t> pid;
  std::atomic<std::uint32_t> blame;  // 1: what runs here is about to end the whole process
};

// Writer: the worker, in the handler of a signal. What `number` counts is written last.
struct alignas(kLineBytes) StackDump {
  std::atomic<std::uint64_t> task;    // as in `current`, at that moment
  std::atomic<std::uint32_t> number;  // of dumps that are complete
  std::atomic<std::uint32_t> signal;  // that is about to end the worker; 0: it was asked
  std::atomic<std::uint32_t> size;    // of the text, bytes
};

struct alignas(kPageBytes) Channel {
  ChannelHeader header;
  // written by the user's process
  Counter task_tail;
  Counter result_head;
  Counter release_tail;
  Orders orders;
  // written by the worker
  Counter task_head;
  Counter result_tail;
  Counter release_head;
  SleepWord sleep;
  Current current;
  StackDump dump;
  Counter return_head;  // written by the user's process
  Counter return_tail;
  // the rings
  alignas(kPageBytes) TaskSlot tasks[kRingSlots];
  alignas(kPageBytes) ResultSlot results[kRingSlots];
  alignas(kPageBytes) std::atomic<std::uint64_t> releases[kReleaseSlots];
  alignas(kPageBytes) std::atomic<std::uint64_t> returns[kReturnSlots];
};

// The text of a dump lies behind the channel in its memfd, where nobody maps it: the worker
// writes it with write(2), as faulthandler does, and so only what is used becomes memory.
inline constexpr std::size_t kStackTextOffset = sizeof(Channel);
inline constexpr std::size_t kStackTextBytes = 64 * 1024;
inline constexpr std::size_t kChannelBytes = kStackTextOffset + kStackTextBytes;

// --- the board: one memfd for each pool, read-only for its workers ------------------------

// Who is to be rung: which of the two eventfds a worker writes to. Both are sticky, so no ring
// is lost between the sleeper's last look and its sleep.
enum class Bell : std::uint32_t {
  nobody = 0,
  caller = 1,   // a thread that sleeps in result()
  control = 2,  // the control thread
};

// Writer: the user's process.
struct alignas(kPageBytes) Board {
  std::uint64_t magic;
  std::uint64_t build;
  alignas(kLineBytes) std::atomic<std::uint32_t> bell;
};

// --- the promises that LAYOUT.md makes ----------------------------------------------------

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<std::uint64_t>) == 8 && sizeof(std::atomic<std::uint32_t>) == 4);

static_assert(sizeof(TaskSlot) == kSlotBytes);
static_assert(offsetof(TaskSlot, claim) == 0 && offsetof(TaskSlot, task) == 8);
static_assert(offsetof(TaskSlot, function) == 16 && offsetof(TaskSlot, context) == 20);
static_assert(offsetof(TaskSlot, size) == 24 && offsetof(TaskSlot, count) == 28);
static_assert(offsetof(TaskSlot, kind) == 32 && offsetof(TaskSlot, format) == 33);
static_assert(offsetof(TaskSlot, where) == 34 && offsetof(TaskSlot, flags) == 35);
static_assert(offsetof(TaskSlot, retry_on) == 36 && offsetof(TaskSlot, reserved2) == 40);
static_assert(offsetof(TaskSlot, bytes) == 48 && offsetof(TaskSlot, block) == 48);

static_assert(sizeof(ResultSlot) == kSlotBytes);
static_assert(offsetof(ResultSlot, task) == 0 && offsetof(ResultSlot, run_ns) == 8);
static_assert(offsetof(ResultSlot, position) == 16);
static_assert(offsetof(ResultSlot, size) == 24 && offsetof(ResultSlot, count) == 28);
static_assert(offsetof(ResultSlot, status) == 32 && offsetof(ResultSlot, format) == 33);
static_assert(offsetof(ResultSlot, where) == 34 && offsetof(ResultSlot, flags) == 35);
static_assert(offsetof(ResultSlot, reserved) == 36 && offsetof(ResultSlot, ended_ns) == 40);
static_assert(offsetof(ResultSlot, bytes) == 48 && offsetof(ResultSlot, block) == 48);

static_assert(sizeof(BlockRef) == 16 && offsetof(BlockRef, size) == 8);
static_assert(sizeof(ItemHeader) == 8 && offsetof(ItemHeader, format) == 4);
static_assert(offsetof(ItemHeader, status) == 5 && offsetof(ItemHeader, flags) == 6);
static_assert(sizeof(ChainHeader) == 16 && offsetof(ChainHeader, next) == 0);

static_assert(offsetof(ChannelHeader, magic) == 0 && offsetof(ChannelHeader, build) == 8);
static_assert(offsetof(ChannelHeader, rank) == 16 && offsetof(ChannelHeader, may_refuse) == 20);
static_assert(offsetof(ChannelHeader, generation) == 24);
static_assert(offsetof(ChannelHeader, memory_limit) == 32);
static_assert(offsetof(Orders, notify_at) == 0 && offsetof(Orders, spin_ns) == 8);
static_assert(offsetof(Orders, stop_task) == 16);
static_assert(offsetof(Current, task) == 0 && offsetof(Current, progress) == 8);
static_assert(offsetof(Current, chain_offset) == 16 && offsetof(Current, chain_size) == 24);
static_assert(offsetof(Current, begun_ns) == 32);
static_assert(offsetof(Current, state) == 40 && offsetof(Current, pid) == 44);
static_assert(offsetof(Current, blame) == 48);
static_assert(offsetof(StackDump, task) == 0 && offsetof(StackDump, number) == 8);
static_assert(offsetof(StackDump, signal) == 12 && offsetof(StackDump, size) == 16);

static_assert(offsetof(Channel, header) == 0 && offsetof(Channel, task_tail) == 128);
static_assert(offsetof(Channel, result_head) == 256 && offsetof(Channel, release_tail) == 384);
static_assert(offsetof(Channel, orders) == 512 && offsetof(Channel, task_head) == 640);
static_assert(offsetof(Channel, result_tail) == 768 && offsetof(Channel, release_head) == 896);
static_assert(offsetof(Channel, sleep) == 1024 && offsetof(Channel, current) == 1152);
static_assert(offsetof(Channel, dump) == 1280 && offsetof(Channel, return_head) == 1408);
static_assert(offsetof(Channel, return_tail) == 1536 && kStackTextOffset == 0x13000);
static_assert(kChannelBytes == 0x23000);
static_assert(offsetof(Channel, tasks) == 0x1000 && offsetof(Channel, results) == 0x9000);
static_assert(offsetof(Channel, releases) == 0x11000 && offsetof(Channel, returns) == 0x12000);
static_assert(sizeof(Channel) == 0x13000);

static_assert(offsetof(Board, magic) == 0 && offsetof(Board, build) == 8);
static_assert(offsetof(Board, bell) == 128 && sizeof(Board) == kPageBytes);

static_assert(std::is_trivially_destructible_v<Channel> && std::is_standard_layout_v<Channel>);
static_assert(std::is_trivially_destructible_v<Board> && std::is_standard_layout_v<Board>);

}  // namespace owngil::ipc

// SPDX-License-Identifier: BSD-3-Clause
#include "ipc/arena.hpp"

#include "ipc/mapping.hpp"
#include "ipc/memfd.hpp"
#include "ipc/unique_fd.hpp"

#include <gtest/gtest.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace owngil::ipc {
namespace {

constexpr std::size_t kMiB = 1024 * 1024;

std::uint64_t bytes_backed(int fd) {
  struct stat about{};
  EXPECT_EQ(::fstat(fd, &about), 0);
  return static_cast<std::uint64_t>(about.st_blocks) * 512;
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFdTest, ClosesWhatItOwnsOnce) {
  const int number = ::dup(0);
  {
    UniqueFd first(number);
    UniqueFd second(std::move(first));
    EXPECT_FALSE(first);  // NOLINT: moved from means empty, and is promised
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFdTest, GivesUpWhatItReleases) {
  UniqueFd fd(::dup(0));
  const int number = fd.release();
  fd.reset();
  EXPECT_TRUE(is_open(number));
  UniqueFd again(number);
}

TEST(MemfdTest, CanNeitherShrinkNorGrow) {
  const UniqueFd fd = create_memfd("test", 8192);
  EXPECT_EQ(::ftruncate(fd.get(), 4096), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd.get(), 16384), -1);
  EXPECT_EQ(errno, EPERM);
}

TEST(MemfdTest, TakesMemoryOnlyWhenItIsCommitted) {
  const UniqueFd fd = create_memfd("test", 64 * kMiB);
  EXPECT_EQ(bytes_backed(fd.get()), 0U);
  EXPECT_TRUE(commit(fd.get(), kMiB, kMiB));
  EXPECT_EQ(bytes_backed(fd.get()), kMiB);
  decommit(fd.get(), kMiB, kMiB);
  EXPECT_EQ(bytes_backed(fd.get()), 0U);
}

TEST(MemfdTest, ErrorsNameTheCall) {
  EXPECT_FALSE(commit(-1, 0, 4096));  // a task may have closed it
  const UniqueFd no_memory(::open("/dev/null", O_RDWR | O_CLOEXEC));
  try {
    static_cast<void>(commit(no_memory.get(), 0, 4096));
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_NE(std::strstr(error.what(), "fallocate"), nullptr);
    EXPECT_EQ(error.code().value(), ENODEV);
  }
  try {
    const Mapping mapping(-1, 4096, Access::read_write);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_NE(std::strstr(error.what(), "mmap"), nullptr);
    EXPECT_EQ(error.code().value(), EBADF);
  }
}

// What /proc/self/smaps says of the mapping that begins there; nothing: none does.
struct Mapped {
  std::size_t size = 0;
  bool is_in_core_dumps = true;
};

std::optional<Mapped> mapped_at(const std::byte* begin) {
  std::ifstream smaps("/proc/self/smaps");
  std::optional<Mapped> found;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t first = 0;
    std::uintptr_t last = 0;
    if (std::sscanf(line.c_str(), "%zx-%zx ", &first, &last) == 2) {
      if (found) break;
      if (first == reinterpret_cast<std::uintptr_t>(begin)) found = Mapped{last - first};
    } else if (found && line.starts_with("VmFlags:")) {
      found->is_in_core_dumps = line.find(" dd") == std::string::npos;
    }
  }
  return found;
}

TEST(MappingTest, IsInACoreDumpUnlessItIsToBeLeftOut) {
  const UniqueFd fd = create_memfd("test", kMiB);
  const Mapping control(fd.get(), kMiB, Access::read_write);
  const Mapping payload(fd.get(), kMiB, Access::read_write, OnFork::inherit, OnCoreDump::exclude);
  EXPECT_TRUE(mapped_at(control.data()).value().is_in_core_dumps);
  EXPECT_FALSE(mapped_at(payload.data()).value().is_in_core_dumps);
  const Mapping part(fd.get(), kMiB / 2, Access::read_only, OnFork::exclude, OnCoreDump::exclude,
                     kPageBytes + 100);
  EXPECT_FALSE(mapped_at(part.data() - 100).value().is_in_core_dumps);
}

TEST(MappingTest, SeesWhatAnotherMappingOfTheSameMemoryWrites) {
  const UniqueFd fd = create_memfd("test", 4096);
  const Mapping writer(fd.get(), 4096, Access::read_write);
  const Mapping reader(fd.get(), 4096, Access::read_only);
  writer.as<std::uint64_t>() = 17;
  EXPECT_EQ(reader.as<const std::uint64_t>(), 17U);
}

TEST(MappingTest, MovesWithItsMemory) {
  const UniqueFd fd = create_memfd("test", 4096);
  Mapping first(fd.get(), 4096, Access::read_write);
  first.as<std::uint64_t>() = 17;
  const Mapping second(std::move(first));
  EXPECT_EQ(second.as<std::uint64_t>(), 17U);
  EXPECT_EQ(second.size(), 4096U);
}

TEST(MappingTest, SealedMemoryCanBeMappedForReadingOnly) {
  const UniqueFd fd = create_memfd("test", 4096);
  const Mapping before(fd.get(), 4096, Access::read_write);
  seal_against_new_writers(fd.get());
  EXPECT_THROW(Mapping(fd.get(), 4096, Access::read_write), std::system_error);
  const Mapping after(fd.get(), 4096, Access::read_only);
  EXPECT_NE(::mprotect(after.data(), 4096, PROT_READ | PROT_WRITE), 0);
  before.as<std::uint64_t>() = 18;
  EXPECT_EQ(after.as<const std::uint64_t>(), 18U);
}

// What a task forks must not be able to write to the rings.
TEST(MappingTest, IsNotThereInAForkedChildIfItWasExcluded) {
  const UniqueFd fd = create_memfd("test", 4096);
  const Mapping excluded(fd.get(), 4096, Access::read_write, OnFork::exclude);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGSEGV, SIG_DFL);
    unsigned char resident = 0;
    // mincore says ENOMEM where nothing is mapped
    const bool gone = ::mincore(excluded.data(), 4096, &resident) != 0 && errno == ENOMEM;
    ::_exit(gone ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(ArenaTest, CommitsInStepsAheadOfWhatIsAllocated) {
  Arena arena("test", 64 * kMiB);
  EXPECT_EQ(bytes_backed(arena.fd()), 0U);
  const auto block = arena.allocate(100);
  ASSERT_TRUE(block);
  EXPECT_EQ(block->size, 100U);
  const std::uint64_t first = arena.committed();
  EXPECT_EQ(bytes_backed(arena.fd()), first);
  EXPECT_LE(first, 256U * 1024);
  ASSERT_TRUE(arena.allocate(5 * kMiB));
  EXPECT_GE(arena.committed(), 5 * kMiB);
  EXPECT_EQ(bytes_backed(arena.fd()), arena.committed());
}

TEST(ArenaTest, StillAllocatesWhenSomebodyHasClosedItsDescriptor) {
  Arena arena("arena", 4 * kMiB);
  const UniqueFd other(::dup(arena.fd()));
  const int number = arena.fd();
  ASSERT_EQ(::close(number), 0);
  const auto block = arena.allocate(kMiB);
  ASSERT_TRUE(block);
  EXPECT_GE(bytes_backed(other.get()), kMiB);
  std::memset(arena.at(block->offset), 1, kMiB);
  ASSERT_EQ(::dup2(other.get(), number), number);  // the arena closes it
}

TEST(ArenaTest, ReusesMemoryThatIsWarm) {
  Arena arena("test", 64 * kMiB);
  for (int i = 0; i < 100; ++i) {
    const auto block = arena.allocate(kMiB);
    ASSERT_TRUE(block);
    std::memset(arena.at(block->offset), i, block->size);
    arena.free(block->offset);
  }
  EXPECT_LE(arena.committed(), 2 * kMiB);
  EXPECT_EQ(arena.in_use(), 0U);
}

TEST(ArenaTest, GivesNothingBeyondItsSize) {
  Arena arena("test", kMiB);
  EXPECT_FALSE(arena.allocate(2 * kMiB));
  ASSERT_TRUE(arena.allocate(kMiB));
  EXPECT_FALSE(arena.allocate(1));
}

TEST(ArenaTest, TrimGivesBackWhatLiesAboveTheLastBlock) {
  Arena arena("test", 64 * kMiB);
  const auto low = arena.allocate(100);
  const auto high = arena.allocate(8 * kMiB);
  ASSERT_TRUE(low && high);
  std::memset(arena.at(low->offset), 7, 100);
  arena.free(high->offset);
  arena.trim(0);
  EXPECT_LE(bytes_backed(arena.fd()), 256U * 1024);
  EXPECT_EQ(arena.at(low->offset)[99], std::byte{7});
  const auto again = arena.allocate(8 * kMiB);  // committed anew
  ASSERT_TRUE(again);
  EXPECT_GE(bytes_backed(arena.fd()), 8 * kMiB);
}

TEST(ArenaTest, TrimGivesBackWhatLiesBetweenBlocksAndItIsCommittedAnew) {
  Arena arena("test", 64 * kMiB);
  const auto first = arena.allocate(8 * kMiB);
  const auto low = arena.allocate(100'000);
  const auto second = arena.allocate(4 * kMiB);
  const auto high = arena.allocate(100'000);
  ASSERT_TRUE(first && low && second && high);
  std::memset(arena.at(low->offset), 7, low->size);
  arena.free(first->offset);
  arena.free(second->offset);
  arena.trim(4 * kMiB);  // the larger one goes
  EXPECT_LE(bytes_backed(arena.fd()), 5 * kMiB);
  EXPECT_EQ(bytes_backed(arena.fd()), arena.committed());
  const auto part = arena.allocate(kMiB);
  ASSERT_TRUE(part);
  EXPECT_LT(part->offset, high->offset);
  EXPECT_EQ(bytes_backed(arena.fd()), arena.committed());
  const auto rest = arena.allocate(3 * kMiB);
  const auto again = arena.allocate(8 * kMiB);
  ASSERT_TRUE(rest && again);
  EXPECT_LT(again->offset, high->offset);
  EXPECT_GE(bytes_backed(arena.fd()), 12 * kMiB);
  EXPECT_EQ(bytes_backed(arena.fd()), arena.committed());
  for (std::size_t i = 0; i != low->size; ++i) ASSERT_EQ(arena.at(low->offset)[i], std::byte{7});
  for (const auto& block : {low, high, part, rest, again}) arena.free(block->offset);
  arena.trim(0);
  EXPECT_EQ(bytes_backed(arena.fd()), 0U);
}

TEST(ArenaTest, TrimLeavesOfAHoleWhatIsToBeKept) {
  Arena arena("test", 64 * kMiB);
  const auto large = arena.allocate(32 * kMiB);
  const auto high = arena.allocate(100'000);
  ASSERT_TRUE(large && high);
  arena.free(large->offset);
  std::uint64_t before = arena.committed();
  for (const std::uint64_t keep : {24 * kMiB, 17 * kMiB, 4 * kMiB}) {
    arena.trim(keep);
    EXPECT_LT(arena.committed(), before);
    EXPECT_LE(arena.committed(), arena.in_use() + keep);
    EXPECT_GE(arena.committed() + 3 * kMiB, arena.in_use() + keep);
    EXPECT_EQ(bytes_backed(arena.fd()), arena.committed());
    before = arena.committed();
  }
  const auto part = arena.allocate(8 * kMiB);  // some of it is there, some was given back
  ASSERT_TRUE(part);
  EXPECT_LT(part->offset, high->offset);
  std::memset(arena.at(part->offset), 7, part->size);
  arena.free(part->offset);
  arena.trim(0);
  EXPECT_LE(arena.committed(), 2 * kMiB);
  EXPECT_EQ(bytes_backed(arena.fd()), arena.committed());
}

TEST(ArenaTest, TrimKeepsAsMuchWhereverItLies) {
  Arena arena("test", 64 * kMiB);
  const auto low = arena.allocate(24 * kMiB);
  const auto high = arena.allocate(24 * kMiB);
  ASSERT_TRUE(low && high);
  arena.free(low->offset);
  arena.trim(0);  // all that is left lies above a hole
  arena.free(high->offset);
  arena.trim(16 * kMiB);
  EXPECT_LE(arena.committed(), 16 * kMiB);
  EXPECT_GE(arena.committed(), 13 * kMiB);
  EXPECT_EQ(bytes_backed(arena.fd()), arena.committed());
}

// A long random walk, checked against what was written to each block that is out.
TEST(ArenaTest, WhatIsAllocatedStaysAsItIsWhateverIsFreedAndTrimmed) {
  constexpr std::uint64_t kSize = 64 * kMiB;
  struct Written {
    BlockRef block;
    std::uint32_t word;
  };
  Arena arena("test", kSize);
  std::mt19937_64 random(6);
  std::vector<Written> out;
  for (std::uint32_t step = 0; step != 6'000; ++step) {
    if (out.empty() || random() % 100 < 50) {
      const std::uint64_t most = std::uint64_t{1} << (3 + random() % 20);
      const auto block = arena.allocate(4 * (1 + random() % (most / 4)));
      if (!block) continue;
      ASSERT_LE(block->offset + block->size, kSize);
      auto* const words = reinterpret_cast<std::uint32_t*>(arena.at(block->offset));
      std::fill_n(words, block->size / 4, step);
      out.push_back({*block, step});
    } else {
      std::swap(out[random() % out.size()], out.back());
      const auto [block, word] = out.back();
      out.pop_back();
      const auto* const words = reinterpret_cast<const std::uint32_t*>(arena.at(block.offset));
      ASSERT_TRUE(std::all_of(words, words + block.size / 4, [&](auto one) { return one == word; }))
          << "step " << step << ", block of " << block.size << " bytes at " << block.offset;
      arena.free(block.offset);
    }
    if (random() % 64 == 0) arena.trim(random() % 4 * 4 * kMiB);
    ASSERT_GE(arena.committed(), arena.in_use()) << "step " << step;
    ASSERT_EQ(bytes_backed(arena.fd()), arena.committed()) << "step " << step;
  }
  for (const auto& [block, word] : out) arena.free(block.offset);
  arena.trim(0);
  EXPECT_EQ(arena.in_use(), 0U);
  EXPECT_EQ(bytes_backed(arena.fd()), arena.committed());
}

TEST(ArenaTest, LeavesAloneWhatHasGotTheNumberOfItsDescriptor) {
  Arena arena("test", 64 * kMiB);
  const auto block = arena.allocate(kMiB);
  ASSERT_TRUE(block);
  EXPECT_TRUE(arena.has_its_file());
  const UniqueFd other = create_memfd("other", 64 * kMiB);
  const UniqueFd own(::fcntl(arena.fd(), F_DUPFD_CLOEXEC, 0));
  ASSERT_EQ(::dup2(other.get(), arena.fd()), arena.fd());
  EXPECT_FALSE(arena.has_its_file());
  const auto more = arena.allocate(32 * kMiB);  // before Linux 5.14 there is none
  EXPECT_GE(bytes_backed(own.get()), more ? 32 * kMiB : kMiB);
  const std::uint64_t before = bytes_backed(own.get());
  if (more) arena.free(more->offset);
  arena.free(block->offset);
  arena.trim(0);
  EXPECT_EQ(bytes_backed(other.get()), 0U);
  EXPECT_EQ(bytes_backed(own.get()), before);
  arena.give_up_file();
  EXPECT_EQ(arena.fd(), -1);
}

TEST(ArenaTest, IsOneMappingThatNoCoreDumpHasAlsoOncePartsOfItWereFrozen) {
  Arena arena("test", 64 * kMiB);
  const ArenaView view(arena.fd(), arena.size());
  const auto block = arena.allocate(2 * kMiB);
  ASSERT_TRUE(block);
  ASSERT_TRUE(arena.freeze(block->offset, kMiB));
  const auto frozen = mapped_at(arena.at(block->offset));
  ASSERT_TRUE(frozen);
  EXPECT_FALSE(frozen->is_in_core_dumps);
  EXPECT_EQ(frozen->size, kMiB);
  ASSERT_TRUE(arena.thaw(block->offset, kMiB));
  const auto whole = mapped_at(arena.at(0));
  ASSERT_TRUE(whole);
  EXPECT_FALSE(whole->is_in_core_dumps);
  EXPECT_EQ(whole->size, arena.size());
}

TEST(ArenaTest, IsOwnedByWhoeverGotTheDescriptorAndReadByItsMaker) {
  UniqueFd fd = create_memfd("test", kMiB);
  const ArenaView view(fd.get(), kMiB);
  Arena arena(std::move(fd), kMiB);
  const auto block = arena.allocate(6);
  ASSERT_TRUE(block);
  std::memcpy(arena.at(block->offset), "seven", 6);
  const std::byte* bytes = view.checked(*block);
  ASSERT_NE(bytes, nullptr);
  EXPECT_STREQ(reinterpret_cast<const char*>(bytes), "seven");
}

TEST(ArenaTest, WhoeverGotItsReadersDescriptorSeesWhatItsOwnerWritesAndCannotWrite) {
  Arena arena("test", kMiB);
  const UniqueFd reader = arena.open_for_reading();
  EXPECT_EQ(file_id(reader.get()), file_id(arena.fd()));
  EXPECT_THROW(Mapping(reader.get(), kMiB, Access::read_write), std::system_error);
  EXPECT_EQ(::write(reader.get(), "x", 1), -1);
  EXPECT_EQ(::fallocate(reader.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(::fcntl(reader.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
  const Mapping mapping(reader.get(), kMiB, Access::read_only);
  EXPECT_NE(::mprotect(mapping.data(), 4096, PROT_READ | PROT_WRITE), 0);
  const ArenaView view(reader.get(), kMiB);
  const auto block = arena.allocate(8);
  ASSERT_TRUE(block);
  *arena.at(block->offset) = std::byte{9};
  EXPECT_EQ(*view.checked(*block), std::byte{9});
}

TEST(ArenaViewTest, RefusesBlocksThatDoNotLieInTheArena) {
  const UniqueFd fd = create_memfd("test", kMiB);
  const ArenaView view(fd.get(), kMiB);
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  EXPECT_NE(view.checked({0, kMiB}), nullptr);
  EXPECT_NE(view.checked({kMiB - 64, 64}), nullptr);
  EXPECT_EQ(view.checked({kMiB - 64, 65}), nullptr);
  EXPECT_EQ(view.checked({0, kMiB + 1}), nullptr);
  EXPECT_EQ(view.checked({64, kMost}), nullptr);
  EXPECT_EQ(view.checked({kMost - 63, 64}), nullptr);
  EXPECT_EQ(view.checked({kMost, kMost}), nullptr);
  EXPECT_EQ(view.checked({8, 8}), nullptr);  // no block begins there
}

}  // namespace
}  // namespace owngil::ipc

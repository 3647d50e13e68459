// SPDX-License-Identifier: BSD-3-Clause
#include "workers/numpy_memory.hpp"

#include "workers/forked_child.hpp"
#include "workers/numpy_api.hpp"
#include "workers/python.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

namespace owngil::workers {

namespace {

// As numpy/ndarraytypes.h has them since 1.22; the first version of it, which later ones extend.
struct Allocator {
  void* context;
  void* (*malloc)(void* context, std::size_t size);
  void* (*calloc)(void* context, std::size_t count, std::size_t size);
  void* (*realloc)(void* context, void* data, std::size_t size);
  void (*free)(void* context, void* data, std::size_t size);
};
struct Handler {
  char name[127];
  std::uint8_t version;
  Allocator allocator;
};
constexpr const char* kCapsule = "mem_handler";
constexpr std::size_t kSetHandler = 304;  // in NumPy's table of functions
constexpr std::size_t kGetHandler = 305;
constexpr unsigned kFirstWithHandlers = 0x0000000f;  // feature version of NumPy 1.22
constexpr std::size_t kFeatureVersion = 211;         // PyArray_GetNDArrayCFeatureVersion

NumpyMemory* installed = nullptr;  // the process has one loop

}  // namespace

struct NumpyHandler {
  static const Allocator& before(const NumpyMemory& self) {
    return static_cast<const Handler*>(self.before_)->allocator;
  }

  static void* malloc(void* context, std::size_t size) {
    auto& self = *static_cast<NumpyMemory*>(context);
    if (size >= NumpyMemory::kLeast) {
      if (void* const data = self.allocate(size)) return data;
    }
    return before(self).malloc(before(self).context, size);
  }

  static void* calloc(void* context, std::size_t count, std::size_t size) {
    auto& self = *static_cast<NumpyMemory*>(context);
    std::size_t all = 0;
    if (!__builtin_mul_overflow(count, size, &all) && all >= NumpyMemory::kLeast &&
        all <= NumpyMemory::kMostZeros) {
      if (void* const data = self.allocate(all)) return std::memset(data, 0, all);
    }
    return before(self).calloc(before(self).context, count, size);
  }

  static void* realloc(void* context, void* data, std::size_t size) {
    auto& self = *static_cast<NumpyMemory*>(context);
    if (!self.is_ours(data)) return before(self).realloc(before(self).context, data, size);
    const auto found = self.arrays_.find(data);
    void* const moved = malloc(context, size);
    if (moved == nullptr || found == self.arrays_.end()) return moved;
    std::memcpy(moved, data, std::min<std::size_t>(size, found->second.block.size));
    self.free(data);
    return moved;
  }

  static void free(void* context, void* data, std::size_t size) {
    auto& self = *static_cast<NumpyMemory*>(context);
    if (self.is_ours(data)) {
      self.free(data);
    } else {
      before(self).free(before(self).context, data, size);
    }
  }

  static void begin_fork() { installed->begin_fork(); }
  static void end_fork_in_parent() { installed->end_fork_in_parent(); }
  static void end_fork_in_child() { installed->end_fork_in_child(); }
};

NumpyMemory* NumpyMemory::install(ResultMemory& memory) noexcept {
  if (installed != nullptr) return installed;
  NumpyTable const table = numpy_table();
  if (table == nullptr) return nullptr;
  const auto version = reinterpret_cast<unsigned (*)()>(table[kFeatureVersion]);
  if (version() < kFirstWithHandlers) return nullptr;
  const auto get = reinterpret_cast<PyObject* (*)()>(table[kGetHandler]);
  const auto set = reinterpret_cast<PyObject* (*)(PyObject*)>(table[kSetHandler]);
  // Never let go of: arrays that it has made know it for as long as they live.
  PyObject* const before = get();
  const void* const handler = before != nullptr ? PyCapsule_GetPointer(before, kCapsule) : nullptr;
  auto* const self = handler != nullptr ? new (std::nothrow) NumpyMemory(memory, handler) : nullptr;
  auto* const ours = self != nullptr ? new (std::nothrow) Handler{} : nullptr;
  if (ours == nullptr) {
    PyErr_Clear();
    return nullptr;
  }
  self->begin_ = memory.at(0);
  self->end_ = self->begin_ + memory.size();
  std::strcpy(ours->name, "owngil");
  ours->version = 1;
  ours->allocator = {self, NumpyHandler::malloc, NumpyHandler::calloc, NumpyHandler::realloc,
                     NumpyHandler::free};
  installed = self;
  // A child of fork is to find its arrays where they were.
  const bool forks = ::madvise(self->begin_, memory.size(), MADV_DOFORK) == 0 &&
                     ::pthread_atfork(NumpyHandler::begin_fork, NumpyHandler::end_fork_in_parent,
                                      NumpyHandler::end_fork_in_child) == 0;
  const Ref capsule = Ref::steal(forks ? PyCapsule_New(ours, kCapsule, nullptr) : nullptr);
  const Ref old = Ref::steal(capsule ? set(capsule.get()) : nullptr);
  if (!old) {
    PyErr_Clear();
    self->close();
  }
  return self;
}

bool NumpyMemory::is_ours(const void* data) const noexcept {
  const auto* const at = static_cast<const std::byte*>(data);
  return at >= begin_ && at < end_;
}

void* NumpyMemory::allocate(std::size_t size) noexcept {
  if (memory_ == nullptr || is_forked_child()) return nullptr;
  try {
    const auto block = memory_->allocate(size);
    if (!block) return nullptr;
    void* const data = memory_->at(block->offset);
    arrays_.emplace(data, Array{*block});
    return data;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void NumpyMemory::free(void* data) noexcept {
  if (memory_ == nullptr || is_forked_child()) return;
  const auto found = arrays_.find(data);
  if (found == arrays_.end()) return;
  if (found->second.is_offered) {
    found->second.is_freed = true;
    return;
  }
  memory_->free(found->second.block.offset);
  arrays_.erase(found);
}

std::optional<ipc::BlockRef> NumpyMemory::offer(const void* data, std::size_t size) noexcept {
  const auto found = arrays_.find(data);
  if (found == arrays_.end() || found->second.is_offered || found->second.block.size < size) {
    return std::nullopt;
  }
  found->second.is_offered = true;
  return ipc::BlockRef{found->second.block.offset, size};
}

bool NumpyMemory::take(const void* data) noexcept {
  const auto found = arrays_.find(data);
  if (found == arrays_.end()) return false;
  if (found->second.is_freed) {
    arrays_.erase(found);
    return true;
  }
  found->second.is_offered = false;
  return false;
}

// --- forks

void NumpyMemory::begin_fork() noexcept {
  if (arrays_.empty() || memory_ == nullptr || ::pipe2(pipe_, O_CLOEXEC) != 0) {
    pipe_[0] = pipe_[1] = -1;
  }
}

void NumpyMemory::end_fork_in_parent() noexcept {
  if (pipe_[0] < 0) return;
  ::close(pipe_[1]);
  char done = 0;
  while (::read(pipe_[0], &done, 1) < 0 && errno == EINTR) {
  }
  ::close(pipe_[0]);
}

void NumpyMemory::end_fork_in_child() noexcept {
  if (memory_ == nullptr) return;  // it was a child's own already
  for (const auto& [data, array] : arrays_) {
    const std::size_t size = ipc::whole_pages(array.block.size);
    void* const copy =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) ::_exit(EXIT_FAILURE);  // it would write to what its parent has
    std::memcpy(copy, data, array.block.size);
    // From now on it is not the arena that lies there.
    if (::mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, const_cast<void*>(data)) ==
        MAP_FAILED) {
      ::_exit(EXIT_FAILURE);
    }
  }
  close();
  if (pipe_[0] < 0) return;
  ::close(pipe_[0]);
  ::close(pipe_[1]);  // its parent sees the end
}

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/map_iterator.hpp"

#include "ipc/item.hpp"
#include "python/binding/outcome.hpp"
#include "python/binding/output.hpp"
#include "python/binding/waiting.hpp"
#include "workers/codec.hpp"
#include "workers/codec_int.hpp"

#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <unordered_map>
#include <vector>

namespace owngil::binding {

using runtime::Admission;
using runtime::Ending;
using runtime::Segment;
using workers::Ref;

namespace {

// Encoded items go to the supervisor in lots: the first soon, so that workers begin early.
constexpr std::size_t kFirstLotBytes = 4 * 1024;
constexpr std::size_t kLotBytes = 256 * 1024;
// Large buffers are no part of a lot, and do not wait for one to be full.
constexpr std::uint64_t kLotBuffered = 256 * 1024;

// The iterables of the user, zipped.
class Source {
 public:
  // False: an exception is set.
  bool open(PyObject* iterables) {
    // Its iterator would do the same, and count a reference to every item.
    is_list_ =
        PyTuple_GET_SIZE(iterables) == 1 && PyList_CheckExact(PyTuple_GET_ITEM(iterables, 0));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(iterables); ++i) {
      PyObject* iterable = PyTuple_GET_ITEM(iterables, i);
      iterators_.push_back(is_list_ ? Py_NewRef(iterable) : PyObject_GetIter(iterable));
      if (iterators_.back() == nullptr) return false;
    }
    items_.resize(iterators_.size());
    return true;
  }

  // The arguments of the next call, until release() or until Python runs. False: the end, or an
  // exception is set.
  bool next() {
    if (is_list_) {
      PyObject* list = iterators_[0];
      if (position_ >= PyList_GET_SIZE(list)) return false;
      items_[0] = PyList_GET_ITEM(list, position_++);
      return true;
    }
    for (filled_ = 0; filled_ < iterators_.size(); ++filled_) {
      PyObject* item = PyIter_Next(iterators_[filled_]);
      if (item == nullptr) {
        release();
        return false;
      }
      items_[filled_] = item;
    }
    return !iterators_.empty();
  }

  PyObject* const* items() const { return items_.data(); }
  std::size_t size() const { return items_.size(); }

  void release() {
    while (filled_ > 0) Py_DECREF(items_[--filled_]);
  }

  void close() {
    std::vector<PyObject*> iterators;
    iterators.swap(iterators_);
    is_list_ = false;
    for (PyObject* iterator : iterators) Py_XDECREF(iterator);
  }

  int traverse(visitproc visit, void* arg) const {
    for (PyObject* iterator : iterators_) Py_VISIT(iterator);
    return 0;
  }

 private:
  std::vector<PyObject*> iterators_;
  std::vector<PyObject*> items_;  // references, but for those of a list
  std::size_t filled_ = 0;
  bool is_list_ = false;
  Py_ssize_t position_ = 0;  // in the list
};

// What is not Python's of the iterator.
struct Progress {
  Source source;
  bool source_ended = false;
  bool paused = false;     // more is to be taken once there is room for it
  bool executing = false;  // next() runs, or waits
  std::uint64_t buffersize = 0;
  std::uint64_t taken = 0;    // items out of the source
  std::uint64_t yielded = 0;  // results, or exceptions, given to the user
  // Items that could not be encoded never travelled; their exceptions, by their index.
  std::unordered_map<std::uint64_t, PyObject*> refused;
  std::uint64_t deadline_ns = ipc::kForever;
  // the segment that is being read
  Segment* segment = nullptr;
  std::span<const std::byte> rest;  // of its items, if it has returned
  std::uint32_t remaining = 0;
};

struct MapIteratorObject {
  PyObject_HEAD runtime::Supervisor* supervisor;
  runtime::MapJob* job;
  Progress* progress;
  PyObject* module;          // so that `state` lasts as long as this
  ModuleState* state;        // to find it anew would cost as much as the item
  std::uint32_t generation;  // see is_ours()
};

MapIteratorObject* cast(PyObject* self) { return reinterpret_cast<MapIteratorObject*>(self); }

bool admit(MapIteratorObject* self, workers::ByteBuffer& lot, SentBuffers& buffers,
           std::uint64_t& count) {
  Admission admission = Admission::no_memory;
  try {
    admission = self->supervisor->add_items(*self->job, lot.bytes(), count, !buffers.empty());
  } catch (const std::bad_alloc&) {
  }
  if (admission != Admission::admitted) {
    raise_admission(*self->supervisor, admission, lot.size());
    return false;
  }
  buffers.handed_over();
  lot.clear();
  count = 0;
  return true;
}

// One small int, in place: what maps are made of most. False: no memory.
bool put_int_item(PyObject* number, workers::ByteBuffer& lot) {
  if (!lot.reserve(ipc::kShortHead + workers::kOneArgumentCounts + workers::kMaxIntBytes)) {
    return false;
  }
  std::byte* const head = lot.data() + lot.size();
  std::byte* const at = head + ipc::kShortHead;
  const std::byte* const end = workers::put_small_int(workers::put_one_argument_counts(at), number);
  *head = static_cast<std::byte>(end - at);
  lot.set_size(static_cast<std::size_t>(end - lot.data()));
  return true;
}

// Puts a head before the bytes from `start` on, for which there is room for a short one.
bool put_head(workers::ByteBuffer& lot, std::size_t start) {
  const std::size_t size = lot.size() - start - ipc::kShortHead;
  const std::size_t head = ipc::item_head(size, ipc::Format::tagged, ipc::Status::returned);
  if (lot.extend(head - ipc::kShortHead) == nullptr) {
    PyErr_NoMemory();
    return false;
  }
  std::byte* const at = lot.data() + start;
  if (head != ipc::kShortHead) std::memmove(at + head, at + ipc::kShortHead, size);
  ipc::put_item_head(at, size, ipc::Format::tagged, ipc::Status::returned);
  return true;
}

// Puts a long head before the bytes from `start` on, for which there is room.
bool put_long_head(workers::ByteBuffer& lot, std::size_t start, ipc::Format format) {
  const std::size_t size = lot.size() - start - ipc::kLongHead;
  if (size > UINT32_MAX) {
    PyErr_NoMemory();
    return false;
  }
  ipc::put_item_head(lot.data() + start, size, format, ipc::Status::returned);
  return true;
}

bool put_pickled(ModuleState& state, const Source& source, SentBuffers& buffers,
                 workers::ByteBuffer& lot) {
  ipc::Format format = ipc::Format::pickle;
  const std::size_t start = lot.size();
  if (lot.extend(ipc::kLongHead) == nullptr) {
    PyErr_NoMemory();
    return false;
  }
  return pickle_arguments(state, source.items(), source.size(), nullptr, buffers, lot, format) &&
         put_long_head(lot, start, format);
}

// An item that is encoded, with room for a short head before it, and from which something large
// was put apart.
bool put_with_apart(const ModuleState& state, const workers::CollectedBuffers& apart,
                    SentBuffers& buffers, workers::ByteBuffer& lot, std::size_t start) {
  const std::size_t size = lot.size() - start - ipc::kShortHead;
  if (lot.extend(ipc::kLongHead - ipc::kShortHead) == nullptr) {
    PyErr_NoMemory();
    return false;
  }
  std::byte* const at = lot.data() + start;
  std::memmove(at + ipc::kLongHead, at + ipc::kShortHead, size);
  return put_tagged(state, apart, buffers, lot, start + ipc::kLongHead) &&
         put_long_head(lot, start, ipc::Format::buffers);
}

// Appends the call whose arguments the source has. False: an exception is set, that of pickling.
bool put_item(ModuleState& state, const Source& source, SentBuffers& buffers,
              workers::ByteBuffer& lot) {
  if (source.size() == 1 && workers::is_small_int(source.items()[0]) &&
      put_int_item(source.items()[0], lot)) {
    return true;
  }
  const std::size_t start = lot.size();
  bool done = lot.extend(ipc::kShortHead) != nullptr;
  if (!done) {
    PyErr_NoMemory();
    return false;
  }
  workers::CollectedBuffers apart;
  switch (workers::encode_call(source.items(), source.size(), nullptr, lot, &apart)) {
    case workers::Encoded::ok:
      done = apart.views.empty() ? put_head(lot, start)
                                 : put_with_apart(state, apart, buffers, lot, start);
      break;
    case workers::Encoded::error: done = false; break;
    case workers::Encoded::unsupported:
      lot.set_size(start);
      done = put_pickled(state, source, buffers, lot);
      break;
  }
  if (!done) lot.set_size(start);
  return done;
}

// Takes up to `limit` items out of the source and hands them on. False: an exception is set.
bool feed(ModuleState& state, MapIteratorObject* self, std::uint64_t limit) {
  Progress& progress = *self->progress;
  workers::ByteBuffer lot;
  SentBuffers buffers(*self->supervisor);
  std::uint64_t count = 0;
  std::size_t lot_bytes = progress.taken == 0 ? kFirstLotBytes : kLotBytes;
  while (limit-- > 0) {
    if (!progress.source.next()) {
      progress.source_ended = true;
      progress.source.close();
      if (PyErr_Occurred()) return false;
      break;
    }
    const bool encoded = put_item(state, progress.source, buffers, lot);
    progress.source.release();
    if (!encoded) {
      progress.refused.emplace(progress.taken++, PyErr_GetRaisedException());
      continue;
    }
    ++progress.taken;
    ++count;
    if (lot.size() >= lot_bytes || buffers.bytes() >= kLotBuffered) {
      const bool has_filled = buffers.bytes() != 0;
      lot_bytes = kLotBytes;
      if (!admit(self, lot, buffers, count)) return false;
      if (has_filled && self->supervisor->is_filling()) {
        progress.paused = progress.buffersize == 0;
        break;
      }
    }
  }
  return count == 0 || admit(self, lot, buffers, count);
}

// Takes more, if it had paused and there is room, or nothing else is left to be read.
bool resume(ModuleState& state, MapIteratorObject* self) {
  Progress& progress = *self->progress;
  if (progress.source_ended) progress.paused = false;
  if (!progress.paused) return true;
  if (progress.taken > progress.yielded && self->supervisor->is_filling()) return true;
  progress.paused = false;
  return feed(state, self, ~std::uint64_t{0});
}

PyObject* raise(Ref exception) {
  PyErr_SetRaisedException(exception.release());
  return nullptr;
}

void took_item(MapIteratorObject* self) {
  Progress& progress = *self->progress;
  ++progress.yielded;
  if (--progress.remaining == 0) {
    progress.segment = nullptr;
    self->supervisor->consume_segment(*self->job);
  }
}

Decoded decode_item(MapIteratorObject* self, const ipc::Item& item,
                    std::span<const std::byte> bytes) {
  if (item.status == ipc::Status::returned) {
    return decode_returned(*self->state, item.format, bytes, self->progress->segment->heap.arena);
  }
  Ref exception = decode_failure(item.format, bytes);
  const Progress& progress = *self->progress;
  return {{}, with_attempts(std::move(exception), *progress.segment, progress.yielded)};
}

// The next item of the segment that is being read.
PyObject* take_item(MapIteratorObject* self) {
  Progress& progress = *self->progress;
  Decoded decoded;
  if (progress.segment->ending == Ending::returned) {
    const ipc::Item item = *ipc::read_item(progress.rest);  // the supervisor has counted them
    const std::span<const std::byte> bytes = progress.rest.subspan(item.head, item.size);
    progress.rest = progress.rest.subspan(item.end());
    if (item.head == ipc::kShortHead) {
      if (const std::optional<long> number = workers::read_int(bytes)) {
        took_item(self);
        return PyLong_FromLong(*number);
      }
    }
    decoded = decode_item(self, item, bytes);
  } else {
    decoded = decode_outcome(*self->state, *self->supervisor, *progress.segment, progress.yielded);
  }
  took_item(self);
  if (decoded.is_value()) return decoded.value.release();
  return raise(std::move(decoded.exception));
}

PyObject* take_next(MapIteratorObject* self) {
  Progress& progress = *self->progress;
  if (progress.paused && !resume(*self->state, self)) return nullptr;
  if (progress.segment != nullptr && progress.refused.empty() && progress.buffersize == 0) {
    return take_item(self);
  }
  if (progress.buffersize != 0 && !progress.source_ended) {
    const std::uint64_t ahead = progress.taken - progress.yielded;
    if (ahead < progress.buffersize && !feed(*self->state, self, progress.buffersize - ahead)) {
      return nullptr;
    }
  }
  if (const auto refused = progress.refused.find(progress.yielded);
      refused != progress.refused.end()) {
    Ref exception = Ref::steal(refused->second);
    progress.refused.erase(refused);
    ++progress.yielded;
    return raise(std::move(exception));
  }
  if (progress.segment == nullptr) {
    if (progress.yielded == progress.taken) return nullptr;  // StopIteration
    Segment* segment = self->supervisor->ready_segment(*self->job);
    if (segment == nullptr) {
      switch (wait_for(*self->supervisor, *self->job, progress.deadline_ns)) {
        case Waited::ready: break;
        case Waited::timeout: PyErr_SetNone(PyExc_TimeoutError); return nullptr;
        case Waited::error: return nullptr;
      }
      segment = self->supervisor->ready_segment(*self->job);
    }
    if (!show_output(*self->state, *segment)) return nullptr;
    progress.segment = segment;
    progress.remaining = segment->count;
    if (segment->ending == Ending::returned) {
      progress.rest = {segment->heap.data, segment->heap.size};
    }
  }
  return take_item(self);
}

// As with a generator: what next() runs may neither take from the iterator nor close it, and no
// other thread may meanwhile. It might be the source, an item, the handler of a signal.
bool check_idle(const MapIteratorObject* self) {
  if (!self->progress->executing) return true;
  PyErr_SetString(PyExc_ValueError, "map iterator already executing");
  return false;
}

PyObject* next(PyObject* object) {
  MapIteratorObject* self = cast(object);
  if (self->job == nullptr) return nullptr;  // closed
  if (!check_ours(self->state, self->generation) || !check_idle(self)) return nullptr;
  self->progress->executing = true;
  PyObject* item = take_next(self);
  self->progress->executing = false;
  return item;
}

void close_job(MapIteratorObject* self) {
  runtime::MapJob* job = self->job;
  self->job = nullptr;
  if (job != nullptr && is_ours(self->state, self->generation)) self->supervisor->close_map(*job);
}

PyObject* close(PyObject* object, PyObject*) {
  MapIteratorObject* self = cast(object);
  if (!check_idle(self)) return nullptr;
  close_job(self);
  self->progress->source.close();
  Py_RETURN_NONE;
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
  Py_VISIT(cast(object)->module);
  const Progress* progress = cast(object)->progress;
  return progress != nullptr ? progress->source.traverse(visit, arg) : 0;
}

int clear(PyObject* object) {
  if (Progress* progress = cast(object)->progress) progress->source.close();
  return 0;
}

void dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  PyTypeObject* type = Py_TYPE(object);
  MapIteratorObject* self = cast(object);
  close_job(self);
  if (self->progress != nullptr) {
    self->progress->source.close();
    for (const auto& refused : self->progress->refused) Py_DECREF(refused.second);
    delete self->progress;
  }
  if (self->supervisor != nullptr && is_ours(self->state, self->generation)) {
    self->supervisor->release();
  }
  Py_DECREF(self->module);
  type->tp_free(object);
  Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"close", close, METH_NOARGS, "close()\n--\n\nCancel what has not begun; yield nothing more."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("The results of Pool.map, in the order of the items.")},
    {Py_tp_iter, reinterpret_cast<void*>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(next)},
    {Py_tp_methods, methods},
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {0, nullptr},
};

PyType_Spec spec = {"owngil._core.MapIterator", sizeof(MapIteratorObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

PyObject* make_map_iterator(ModuleState& state, PoolObject& pool, const runtime::Policy* policy,
                            PyObject* function, PyObject* iterables, PyObject* timeout,
                            std::uint32_t chunksize, std::uint64_t buffersize) {
  std::uint64_t deadline_ns = 0;
  if (!deadline_of(timeout, deadline_ns) || !refresh_context(state, pool)) return nullptr;
  auto* self = PyObject_GC_New(MapIteratorObject, state.map_iterator_type);
  if (self == nullptr) return nullptr;
  const Ref owner = Ref::steal(reinterpret_cast<PyObject*>(self));
  pool.supervisor->retain();
  self->supervisor = pool.supervisor;
  self->job = nullptr;
  self->module = Py_NewRef(PyType_GetModule(state.map_iterator_type));
  self->state = &state;
  self->generation = state.generation;
  self->progress = new (std::nothrow) Progress;
  PyObject_GC_Track(owner.get());
  if (self->progress == nullptr) return PyErr_NoMemory();
  self->progress->buffersize = buffersize;
  self->progress->deadline_ns = deadline_ns;
  if (!self->progress->source.open(iterables)) return nullptr;
  const std::uint32_t number = function_number(pool, function);
  if (number == 0) return nullptr;
  try {
    self->job = pool.supervisor->open_map(number, pool.context_number, chunksize, policy);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
  if (!feed(state, self, buffersize != 0 ? buffersize : ~std::uint64_t{0})) return nullptr;
  return Py_NewRef(owner.get());
}

bool add_map_iterator_type(PyObject* module, ModuleState& state) {
  state.map_iterator_type =
      reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, &spec, nullptr));
  return state.map_iterator_type != nullptr;
}

}  // namespace owngil::binding

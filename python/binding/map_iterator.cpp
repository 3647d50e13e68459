// SPDX-License-Identifier: BSD-3-Clause
#include "python/binding/map_iterator.hpp"

#include "python/binding/outcome.hpp"
#include "python/binding/output.hpp"
#include "python/binding/waiting.hpp"

#include <cstring>
#include <new>
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

// The iterables of the user, zipped.
class Source {
 public:
  // False: an exception is set.
  bool open(PyObject* iterables) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(iterables); ++i) {
      iterators_.push_back(PyObject_GetIter(PyTuple_GET_ITEM(iterables, i)));
      if (iterators_.back() == nullptr) return false;
    }
    items_.resize(iterators_.size());
    return true;
  }

  // The arguments of the next call, until release(). False: the end, or an exception is set.
  bool next() {
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
    for (PyObject* iterator : iterators) Py_XDECREF(iterator);
  }

  int traverse(visitproc visit, void* arg) const {
    for (PyObject* iterator : iterators_) Py_VISIT(iterator);
    return 0;
  }

 private:
  std::vector<PyObject*> iterators_;
  std::vector<PyObject*> items_;
  std::size_t filled_ = 0;
};

// What is not Python's of the iterator.
struct Progress {
  Source source;
  bool source_ended = false;
  std::uint64_t buffersize = 0;
  std::uint64_t taken = 0;    // items out of the source
  std::uint64_t yielded = 0;  // results, or exceptions, given to the user
  // Items that could not be encoded never travelled; their exceptions, by their index.
  std::unordered_map<std::uint64_t, PyObject*> refused;
  std::uint64_t deadline_ns = ipc::kForever;
  // the segment that is being read
  Segment* segment = nullptr;
  std::size_t offset = 0;  // of the next item in its results
  std::uint32_t remaining = 0;
};

struct MapIteratorObject {
  PyObject_HEAD runtime::Supervisor* supervisor;
  runtime::MapJob* job;
  Progress* progress;
  std::uint32_t generation;  // see is_ours()
};

MapIteratorObject* cast(PyObject* self) { return reinterpret_cast<MapIteratorObject*>(self); }

bool admit(MapIteratorObject* self, workers::ByteBuffer& lot, std::uint64_t& count) {
  Admission admission = Admission::no_memory;
  try {
    admission = self->supervisor->add_items(*self->job, lot.bytes(), count);
  } catch (const std::bad_alloc&) {
  }
  if (admission != Admission::admitted) {
    raise_admission(*self->supervisor, admission, lot.size());
    return false;
  }
  lot.clear();
  count = 0;
  return true;
}

// Takes up to `limit` items out of the source and hands them on. False: an exception is set.
bool feed(ModuleState& state, MapIteratorObject* self, std::uint64_t limit) {
  Progress& progress = *self->progress;
  workers::ByteBuffer lot;
  std::uint64_t count = 0;
  std::size_t lot_bytes = progress.taken == 0 ? kFirstLotBytes : kLotBytes;
  while (limit-- > 0) {
    if (!progress.source.next()) {
      progress.source_ended = true;
      progress.source.close();
      if (PyErr_Occurred()) return false;
      break;
    }
    const std::size_t start = lot.size();
    ipc::ItemHeader header{};
    bool encoded = lot.append(&header, sizeof header);
    if (!encoded) PyErr_NoMemory();
    encoded = encoded && encode_arguments(state, progress.source.items(), progress.source.size(),
                                          nullptr, lot, header.format);
    progress.source.release();
    if (!encoded) {
      lot.set_size(start);
      progress.refused.emplace(progress.taken++, PyErr_GetRaisedException());
      continue;
    }
    const std::size_t size = lot.size() - start - sizeof header;
    const std::size_t padding = ipc::padded(size) - size;
    if (size >= ipc::kNextBlock || lot.extend(padding) == nullptr) {
      PyErr_NoMemory();
      return false;
    }
    header.size = static_cast<std::uint32_t>(size);
    header.status = ipc::Status::returned;
    std::memcpy(lot.data() + start, &header, sizeof header);
    ++progress.taken;
    ++count;
    if (lot.size() >= lot_bytes) {
      lot_bytes = kLotBytes;
      if (!admit(self, lot, count)) return false;
    }
  }
  return count == 0 || admit(self, lot, count);
}

PyObject* raise(Ref exception) {
  PyErr_SetRaisedException(exception.release());
  return nullptr;
}

// The next item of the segment that is being read.
PyObject* take_item(ModuleState& state, MapIteratorObject* self) {
  Progress& progress = *self->progress;
  Segment& segment = *progress.segment;
  Decoded decoded;
  if (segment.ending == Ending::returned) {
    ipc::ItemHeader header;
    std::memcpy(&header, segment.heap.data + progress.offset, sizeof header);
    const std::span<const std::byte> bytes(segment.heap.data + progress.offset + sizeof header,
                                           header.size);
    progress.offset += sizeof header + ipc::padded(header.size);
    if (header.status == ipc::Status::returned) {
      decoded = decode_returned(state, header.format, bytes);
    } else {
      decoded.exception =
          with_attempts(decode_failure(header.format, bytes), segment, progress.yielded);
    }
  } else {
    decoded = decode_outcome(state, *self->supervisor, segment, progress.yielded);
  }
  ++progress.yielded;
  if (--progress.remaining == 0) {
    progress.segment = nullptr;
    self->supervisor->consume_segment(*self->job);
  }
  if (decoded.is_value()) return decoded.value.release();
  return raise(std::move(decoded.exception));
}

PyObject* next(PyObject* object) {
  MapIteratorObject* self = cast(object);
  if (self->job == nullptr) return nullptr;  // closed
  ModuleState* state = state_of(Py_TYPE(object));
  if (!check_ours(state, self->generation)) return nullptr;
  Progress& progress = *self->progress;
  if (progress.segment != nullptr && progress.refused.empty() && progress.buffersize == 0) {
    return take_item(*state, self);
  }
  if (progress.buffersize != 0 && !progress.source_ended) {
    const std::uint64_t ahead = progress.taken - progress.yielded;
    if (ahead < progress.buffersize && !feed(*state, self, progress.buffersize - ahead)) {
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
      if (self->job == nullptr) return nullptr;  // closed by a signal's handler
      segment = self->supervisor->ready_segment(*self->job);
    }
    if (!show_output(*state, *segment)) return nullptr;
    if (self->job == nullptr) return nullptr;  // closed by whoever was shown it
    if (progress.segment != nullptr || self->supervisor->ready_segment(*self->job) != segment) {
      return next(object);  // who was shown it has asked for the results, too
    }
    progress.segment = segment;
    progress.offset = 0;
    progress.remaining = segment->count;
  }
  return take_item(*state, self);
}

void close_job(MapIteratorObject* self, const ModuleState* state) {
  runtime::MapJob* job = self->job;
  self->job = nullptr;
  if (job != nullptr && is_ours(state, self->generation)) self->supervisor->close_map(*job);
}

PyObject* close(PyObject* object, PyObject*) {
  MapIteratorObject* self = cast(object);
  const ModuleState* state = state_of(Py_TYPE(object));
  if (state == nullptr) return nullptr;
  close_job(self, state);
  self->progress->source.close();
  Py_RETURN_NONE;
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(object));
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
  const ModuleState* state = state_of(type);
  close_job(self, state);
  if (self->progress != nullptr) {
    self->progress->source.close();
    for (const auto& refused : self->progress->refused) Py_DECREF(refused.second);
    delete self->progress;
  }
  if (self->supervisor != nullptr && is_ours(state, self->generation)) {
    self->supervisor->release();
  }
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

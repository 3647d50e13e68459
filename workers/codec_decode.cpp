// SPDX-License-Identifier: BSD-3-Clause
#include "workers/codec.hpp"
#include "workers/codec_format.hpp"
#include "workers/codec_int.hpp"
#include "workers/numpy_api.hpp"
#include "workers/shared_objects.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

namespace owngil::workers {
namespace {

// Up to here a copy costs less than the page faults of who reads where it lies, or writes there.
constexpr std::size_t kMostCopied = std::size_t{128} * 1024;

// Reads one encoding. Every failure sets a Python exception, but that NumPy is not loaded.
class Decoder {
 public:
  Decoder(std::span<const std::byte> bytes, ShortStrings* strings, BufferSource* apart) noexcept
      : begin_(bytes.data()),
        at_(begin_),
        end_(begin_ + bytes.size()),
        strings_(strings),
        apart_(apart) {}

  [[nodiscard]] PyObject* value(int depth) noexcept;
  [[nodiscard]] PyObject* name() noexcept;
  [[nodiscard]] bool count(std::uint32_t& count_out) noexcept;
  [[nodiscard]] bool at_end() const noexcept { return at_ == end_; }
  [[nodiscard]] std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }

  static PyObject* bad(const char* what) noexcept {
    PyErr_Format(PyExc_ValueError, "bad tagged bytes: %s", what);
    return nullptr;
  }

 private:
  enum class Role { value, key, part_of_key };

  [[nodiscard]] bool long_count(std::uint32_t& count_out) noexcept;
  [[nodiscard]] PyObject* any(int depth, Role role) noexcept;
  [[nodiscard]] PyObject* shared(int depth, Role role) noexcept;
  [[nodiscard]] PyObject* with_tag(Tag tag, int depth, Role role) noexcept;
  [[nodiscard]] PyObject* container(Tag tag, int depth, Role role) noexcept;
  [[nodiscard]] PyObject* tuple(std::uint32_t size, int depth, Role role) noexcept;
  [[nodiscard]] PyObject* list(std::uint32_t size, int depth) noexcept;
  [[nodiscard]] PyObject* dict(std::uint32_t size, int depth) noexcept;
  [[nodiscard]] PyObject* reference(Role role) noexcept;
  [[nodiscard]] PyObject* int_text() noexcept;
  [[nodiscard]] PyObject* bytes() noexcept;
  [[nodiscard]] PyObject* array() noexcept;
  [[nodiscard]] PyObject* elements(std::uint8_t element, std::span<const Py_ssize_t> shape,
                                   std::size_t size, bool is_apart) noexcept;
  template <typename Unit>
  [[nodiscard]] PyObject* text(int depth) noexcept;

  template <typename T>
  [[nodiscard]] bool raw(T& value) noexcept {
    if (left() < sizeof value) return truncated();
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return true;
  }
  // A count of things that take at least `unit` bytes each: more than are left is an error.
  [[nodiscard]] bool count_of(std::size_t unit, std::uint32_t& count_out) noexcept {
    return count(count_out) && (count_out <= left() / unit || truncated());
  }
  static bool truncated() noexcept {
    bad("truncated");
    return false;
  }

  // A tag with kShared waits in pending_ until its object exists.
  struct Pending {
    bool is_set = false;
    std::uint32_t place = 0;
  };
  // Containers register themselves before their items do, so that places only rise.
  [[nodiscard]] bool register_container(PyObject* borrowed, std::size_t& index) noexcept;

  const std::byte* const begin_;
  const std::byte* at_;
  const std::byte* const end_;
  ShortStrings* const strings_;
  BufferSource* const apart_;
  Pending pending_;
  SharedObjects shared_;
};

inline bool Decoder::count(std::uint32_t& count_out) noexcept {
  if (at_ != end_ && static_cast<std::uint8_t>(*at_) < 0x80) {
    count_out = static_cast<std::uint8_t>(*at_++);
    return true;
  }
  return long_count(count_out);
}

bool Decoder::long_count(std::uint32_t& count_out) noexcept {
  std::uint64_t number = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    std::uint8_t part = 0;
    if (!raw(part)) return false;
    number |= static_cast<std::uint64_t>(part & 0x7F) << shift;
    if ((part & 0x80) == 0) {
      if (number > UINT32_MAX) break;
      count_out = static_cast<std::uint32_t>(number);
      return true;
    }
  }
  bad("a count out of its range");
  return false;
}

inline PyObject* Decoder::value(int depth) noexcept { return any(depth, Role::value); }

inline PyObject* Decoder::any(int depth, Role role) noexcept {
  std::uint8_t tag = 0;
  if (!raw(tag)) return nullptr;
  if (tag == static_cast<std::uint8_t>(Tag::int8)) {
    std::int8_t number = 0;
    return raw(number) ? PyLong_FromLong(number) : nullptr;
  }
  if ((tag & kShared) != 0) {
    --at_;
    return shared(depth, role);
  }
  return with_tag(static_cast<Tag>(tag), depth, role);
}

PyObject* Decoder::shared(int depth, Role role) noexcept {
  const auto place = static_cast<std::uint32_t>(at_ - begin_);
  const auto tag = static_cast<Tag>(static_cast<std::uint8_t>(*at_++) & ~kShared);
  pending_ = {true, place};
  if (tag == Tag::tuple || tag == Tag::list || tag == Tag::dict) {
    return container(tag, depth, role);
  }
  pending_.is_set = false;
  if (tag == Tag::reference) return bad("a shared reference");
  PyObject* const object = with_tag(tag, depth, role);
  if (object == nullptr) return nullptr;
  std::size_t index = 0;
  if (!shared_.add(place, object, index)) {
    Py_DECREF(object);
    return PyErr_NoMemory();
  }
  return object;
}

PyObject* Decoder::with_tag(Tag tag, int depth, Role role) noexcept {
  switch (tag) {
    case Tag::none: return Py_NewRef(Py_None);
    case Tag::false_: return Py_NewRef(Py_False);
    case Tag::true_: return Py_NewRef(Py_True);
    case Tag::int8: {
      std::int8_t number = 0;
      return raw(number) ? PyLong_FromLong(number) : nullptr;
    }
    case Tag::int32: {
      std::int32_t number = 0;
      return raw(number) ? PyLong_FromLong(number) : nullptr;
    }
    case Tag::int64: {
      std::int64_t number = 0;
      return raw(number) ? PyLong_FromLong(number) : nullptr;
    }
    case Tag::int_text: return int_text();
    case Tag::float64: {
      double number = 0;
      return raw(number) ? PyFloat_FromDouble(number) : nullptr;
    }
    case Tag::complex128: {
      double real = 0;
      double imaginary = 0;
      return raw(real) && raw(imaginary) ? PyComplex_FromDoubles(real, imaginary) : nullptr;
    }
    case Tag::bytes: return bytes();
    case Tag::str1: return text<Py_UCS1>(depth);
    case Tag::str2: return text<Py_UCS2>(depth);
    case Tag::str4: return text<Py_UCS4>(depth);
    case Tag::tuple:
    case Tag::list:
    case Tag::dict: return container(tag, depth, role);
    case Tag::reference: return reference(role);
    case Tag::array: return role == Role::value ? array() : bad("a key that is not plain");
  }
  return bad("an unknown tag");
}

PyObject* Decoder::container(Tag tag, int depth, Role role) noexcept {
  if (depth >= kCodecMaxDepth) return bad("nested too deep");
  if (role == Role::part_of_key || (role == Role::key && tag != Tag::tuple)) {
    return bad("a key that is not plain");
  }
  std::uint32_t size = 0;
  if (!count_of(tag == Tag::dict ? 2 : 1, size)) return nullptr;
  switch (tag) {
    case Tag::tuple: return tuple(size, depth, role);
    case Tag::list: return list(size, depth);
    default: return dict(size, depth);
  }
}

bool Decoder::register_container(PyObject* borrowed, std::size_t& index) noexcept {
  if (!pending_.is_set) return true;
  pending_.is_set = false;
  if (shared_.add(pending_.place, borrowed, index)) return true;
  PyErr_NoMemory();
  return false;
}

// A tuple can be referred to only once it is whole: nobody may see its empty slots.
PyObject* Decoder::tuple(std::uint32_t size, int depth, Role role) noexcept {
  const bool is_shared = pending_.is_set;
  std::size_t index = 0;
  if (!register_container(nullptr, index)) return nullptr;
  Ref made = Ref::steal(PyTuple_New(size));
  if (!made) return nullptr;
  const Role item_role = role == Role::value ? Role::value : Role::part_of_key;
  for (std::uint32_t i = 0; i != size; ++i) {
    PyObject* const item = any(depth + 1, item_role);
    if (item == nullptr) return nullptr;
    PyTuple_SET_ITEM(made.get(), i, item);
  }
  if (is_shared) shared_.set(index, made.get());
  return made.release();
}

PyObject* Decoder::list(std::uint32_t size, int depth) noexcept {
  Ref made = Ref::steal(PyList_New(size));
  std::size_t index = 0;
  if (!made || !register_container(made.get(), index)) return nullptr;
  for (std::uint32_t i = 0; i != size; ++i) {
    PyObject* const item = value(depth + 1);
    if (item == nullptr) return nullptr;
    PyList_SET_ITEM(made.get(), i, item);
  }
  return made.release();
}

PyObject* Decoder::dict(std::uint32_t size, int depth) noexcept {
  Ref made = Ref::steal(PyDict_New());
  std::size_t index = 0;
  if (!made || !register_container(made.get(), index)) return nullptr;
  for (std::uint32_t i = 0; i != size; ++i) {
    const Ref key = Ref::steal(any(depth + 1, Role::key));
    if (!key) return nullptr;
    const Ref item = Ref::steal(value(depth + 1));
    if (!item || PyDict_SetItem(made.get(), key.get(), item.get()) < 0) return nullptr;
  }
  if (PyDict_GET_SIZE(made.get()) != static_cast<Py_ssize_t>(size)) return bad("a key twice");
  return made.release();
}

PyObject* Decoder::reference(Role role) noexcept {
  std::uint32_t place = 0;
  if (!count(place)) return nullptr;
  PyObject* const found = shared_.find(place);
  if (found == nullptr) return bad("a reference to nothing");
  if (role != Role::value &&
      (PyTuple_CheckExact(found) || Py_TYPE(found)->tp_hash == PyObject_HashNotImplemented)) {
    return bad("a key that is not plain");
  }
  return Py_NewRef(found);
}

PyObject* Decoder::int_text() noexcept {
  std::uint32_t size = 0;
  if (!count_of(1, size)) return nullptr;
  for (std::uint32_t i = 0; i != size; ++i) {
    const char digit = static_cast<char>(at_[i]);
    const bool is_hex = (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f');
    if (!is_hex && digit != 'x' && digit != '-') return bad("not a digit");
  }
  ByteBuffer terminated;
  if (!terminated.append(at_, size) || !terminated.append("", 1)) return PyErr_NoMemory();
  at_ += size;
  return PyLong_FromString(reinterpret_cast<const char*>(terminated.data()), nullptr, 16);
}

PyObject* Decoder::bytes() noexcept {
  std::uint32_t size = 0;
  if (!count_of(1, size)) return nullptr;
  const auto* const data = reinterpret_cast<const char*>(at_);
  at_ += size;
  return PyBytes_FromStringAndSize(data, size);
}

PyObject* Decoder::array() noexcept {
  std::uint8_t element = 0;
  std::uint8_t flags = 0;
  std::uint8_t dimensions = 0;
  if (!raw(element) || !raw(flags) || !raw(dimensions)) return nullptr;
  std::size_t size = element_type(element).size;
  if (size == 0 || (flags & ~(kReadOnly | kApart)) != 0 || dimensions > kCodecMaxDimensions) {
    return bad("an array of an unknown kind");
  }
  std::array<Py_ssize_t, kCodecMaxDimensions> lengths;
  for (std::uint8_t i = 0; i != dimensions; ++i) {
    std::int64_t length = 0;
    if (!raw(length)) return nullptr;
    if (length < 0 || __builtin_mul_overflow(size, static_cast<std::size_t>(length), &size) ||
        size > PY_SSIZE_T_MAX) {
      return bad("an array out of its range");
    }
    lengths[i] = length;
  }
  if (numpy_table() == nullptr) return nullptr;  // to be loaded by whoever may run its code
  PyObject* const made =
      elements(element, std::span(lengths).first(dimensions), size, (flags & kApart) != 0);
  if (made != nullptr && (flags & kReadOnly) != 0) make_read_only(made);
  return made;
}

PyObject* Decoder::elements(std::uint8_t element, std::span<const Py_ssize_t> shape,
                            std::size_t size, bool is_apart) noexcept {
  if (is_apart && apart_ == nullptr) return bad("an array apart from nothing");
  if (is_apart && size > kMostCopied) {
    Ref buffer = apart_->take_next(size);
    if (!buffer) return nullptr;
    void* const data = PyMemoryView_GET_BUFFER(buffer.get())->buf;
    return make_array_over(element, shape, data, std::move(buffer));
  }
  if (!is_apart && size > left()) {
    truncated();
    return nullptr;
  }
  Ref made = Ref::steal(make_array(element, shape));
  if (!made) return nullptr;
  if (is_apart) return apart_->copy_next(array_data(made.get()), size) ? made.release() : nullptr;
  if (size != 0) std::memcpy(array_data(made.get()), at_, size);
  at_ += size;
  return made.release();
}

// A str's kind follows from its largest character; any other kind is not an encoding.
template <typename Unit>
PyObject* Decoder::text(int depth) noexcept {
  std::uint32_t size = 0;
  if (!count_of(sizeof(Unit), size)) return nullptr;
  const std::byte* const data = at_;
  at_ += size * sizeof(Unit);
  if constexpr (sizeof(Unit) == 1) {
    // One that stands alone is rather each time another.
    if (depth != 0 && strings_ != nullptr && size <= ShortStrings::kLongest) {
      return strings_->get({data, size});
    }
    return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, data, size);
  } else {
    Unit seen = 0;
    for (std::uint32_t i = 0; i != size; ++i) {
      Unit unit = 0;
      std::memcpy(&unit, data + i * sizeof unit, sizeof unit);
      seen = static_cast<Unit>(std::max(seen, unit));
    }
    constexpr std::uint32_t kLeast = sizeof(Unit) == 2 ? 0x100 : 0x10000;
    if (seen < kLeast || seen > 0x10FFFF) return bad("a character out of its range");
    PyObject* const made = PyUnicode_New(size, seen);
    if (made == nullptr) return nullptr;
    std::memcpy(PyUnicode_DATA(made), data, size * sizeof(Unit));
    return made;
  }
}

PyObject* Decoder::name() noexcept {
  Ref object = Ref::steal(any(0, Role::key));
  if (!object) return nullptr;
  if (!PyUnicode_CheckExact(object.get())) return bad("a keyword that is not a str");
  return object.release();
}

bool is_too_long(std::span<const std::byte> bytes) noexcept {
  if (bytes.size() <= kCodecMaxBytes) return false;
  Decoder::bad("too long");
  return true;
}

bool get_names(Decoder& decoder, std::uint32_t keywords, DecodedCall& call) noexcept {
  Ref names = Ref::steal(PyTuple_New(keywords));
  if (!names) return false;
  for (std::uint32_t i = 0; i != keywords; ++i) {
    PyObject* const name = decoder.name();
    if (name == nullptr) return false;
    PyTuple_SET_ITEM(names.get(), i, name);
  }
  call.set_keyword_names(names.release());
  return true;
}

bool get_values(Decoder& decoder, std::uint32_t count, DecodedCall& call) noexcept {
  for (std::uint32_t i = 0; i != count; ++i) {
    PyObject* const value = decoder.value(0);
    if (value == nullptr) return false;
    call.push(value);
  }
  return true;
}

bool get_only_argument(PyObject* value, DecodedCall& call) noexcept {
  if (value == nullptr) return false;
  call.push(value);
  call.set_positional_count(1);
  return true;
}

bool get_call(Decoder& decoder, DecodedCall& call) noexcept {
  std::uint32_t positional = 0;
  std::uint32_t keywords = 0;
  if (!decoder.count(positional) || !decoder.count(keywords)) return false;
  const std::size_t all = std::size_t{positional} + keywords;
  if (all > decoder.left()) {
    Decoder::bad("truncated");
    return false;
  }
  if (!call.reserve(all)) return false;
  call.set_positional_count(positional);
  if (!get_values(decoder, positional, call)) return false;
  if (keywords != 0) {
    if (!get_names(decoder, keywords, call) || !get_values(decoder, keywords, call)) return false;
  }
  if (decoder.at_end()) return true;
  Decoder::bad("bytes after the end");
  return false;
}

}  // namespace

PyObject* decode_value(std::span<const std::byte> bytes, ShortStrings* strings,
                       BufferSource* apart) noexcept {
  if (const std::optional<long> number = read_int(bytes)) return PyLong_FromLong(*number);
  if (is_too_long(bytes)) return nullptr;
  Decoder decoder(bytes, strings, apart);
  Ref made = Ref::steal(decoder.value(0));
  if (made && !decoder.at_end()) return Decoder::bad("bytes after the end");
  return made.release();
}

bool decode_call(std::span<const std::byte> bytes, DecodedCall& call, ShortStrings* strings,
                 BufferSource* apart) noexcept {
  if (has_one_argument(bytes)) {
    if (const std::optional<long> number = read_int(bytes.subspan(kOneArgumentCounts))) {
      return get_only_argument(PyLong_FromLong(*number), call);
    }
  }
  if (is_too_long(bytes)) return false;
  Decoder decoder(bytes, strings, apart);
  if (get_call(decoder, call)) return true;
  call.clear();
  return false;
}

}  // namespace owngil::workers

// SPDX-License-Identifier: BSD-3-Clause
#include "workers/codec.hpp"
#include "workers/codec_format.hpp"
#include "workers/codec_int.hpp"
#include "workers/identity_memo.hpp"
#include "workers/numpy_api.hpp"

#include <cstdint>
#include <cstring>
#include <new>
#include <optional>

namespace owngil::workers {
namespace {

static_assert(sizeof(long) == sizeof(std::int64_t));

std::byte* put_tag(std::byte* at, Tag tag) noexcept {
  *at = static_cast<std::byte>(tag);
  return at + 1;
}

template <typename T>
std::byte* put_raw(std::byte* at, T value) noexcept {
  std::memcpy(at, &value, sizeof value);
  return at + sizeof value;
}

std::byte* put_count(std::byte* at, std::uint32_t count) noexcept {
  for (; count >= 0x80; count >>= 7) *at++ = static_cast<std::byte>(count | 0x80);
  *at = static_cast<std::byte>(count);
  return at + 1;
}

// Writes one encoding. Takes it back when it does not succeed.
class Encoder {
 public:
  // `roots`: how many values stand side by side at the top.
  Encoder(ByteBuffer& out, std::size_t roots, CollectedBuffers* apart) noexcept
      : out_(out), start_(out.size()), roots_(roots), apart_(apart) {}

  [[nodiscard]] Encoded value(PyObject* object, int depth) noexcept;
  [[nodiscard]] Encoded counts(std::size_t positional, std::size_t keywords) noexcept;
  [[nodiscard]] Encoded name(PyObject* object) noexcept;

  Encoded finish(Encoded result) noexcept {
    if (result != Encoded::ok) {
      out_.set_size(start_);
      if (apart_ != nullptr) apart_->clear();
    }
    return result;
  }

 private:
  enum class Role { value, key, part_of_key };

  [[nodiscard]] Encoded not_an_int64(PyObject* object, int depth) noexcept;
  [[nodiscard]] Encoded no_number(PyObject* object, int depth, Role role) noexcept;
  [[nodiscard]] Encoded key(PyObject* object, int depth, Role role) noexcept;
  [[nodiscard]] Encoded big_int(PyObject* object) noexcept;
  [[nodiscard]] Encoded text(PyObject* object) noexcept;
  [[nodiscard]] Encoded array(PyObject* object, const PlainArray& array) noexcept;
  [[nodiscard]] Encoded put_apart(PyObject* array) noexcept;
  [[nodiscard]] Encoded units(Tag tag, const void* data, Py_ssize_t count, unsigned unit) noexcept;
  [[nodiscard]] Encoded tuple(PyObject* object, int depth, Role role) noexcept;
  [[nodiscard]] Encoded list(PyObject* object, int depth) noexcept;
  [[nodiscard]] Encoded dict(PyObject* object, int depth) noexcept;
  [[nodiscard]] Encoded head(Tag tag, Py_ssize_t items, int depth) noexcept;

  // Whether the object can be met again. An item that only its container refers to cannot.
  // A root may be borrowed (CPython >= 3.14 counts no reference for an argument on its
  // stack), so among several roots the count says nothing.
  [[nodiscard]] bool may_recur(PyObject* object, int depth) const noexcept {
    if (depth == 0 && roots_ > 1) return true;
    return Py_REFCNT(object) > 1 && (depth != 0 || !is_leaf(object));
  }
  [[nodiscard]] static bool is_leaf(PyObject* object) noexcept {
    return PyUnicode_CheckExact(object) || PyBytes_CheckExact(object);
  }
  // ok: the object is new, and to be written. Else, whether a reference could be written.
  enum class Recurs { no, written, impossible, no_memory };
  [[nodiscard]] Recurs recurs(PyObject* object, int depth, Role role) noexcept;
  [[nodiscard]] bool is_open(PyObject* object, int depth) const noexcept;

  [[nodiscard]] std::size_t written() const noexcept { return out_.size() - start_; }
  void end_at(const std::byte* end) noexcept {
    out_.set_size(static_cast<std::size_t>(end - out_.data()));
  }
  [[nodiscard]] std::byte* room(std::size_t size) noexcept {
    return out_.reserve(size) ? out_.data() + out_.size() : nullptr;
  }
  [[nodiscard]] static Encoded no_memory() noexcept {
    PyErr_NoMemory();
    return Encoded::error;
  }

  ByteBuffer& out_;
  const std::size_t start_;
  const std::size_t roots_;
  CollectedBuffers* const apart_;
  PyObject* open_[kCodecMaxDepth];  // the containers being written, by depth
  IdentityMemo memo_;
};

inline Encoded Encoder::value(PyObject* object, int depth) noexcept {
  if (!PyLong_CheckExact(object)) return not_an_int64(object, depth);
  int overflow = 0;
  const long number = PyLong_AsLongAndOverflow(object, &overflow);
  if (overflow != 0) return big_int(object);
  std::byte* const at = room(kMaxScalarBytes);
  if (at == nullptr) return no_memory();
  end_at(put_int(at, number));
  return Encoded::ok;
}

Encoded Encoder::not_an_int64(PyObject* object, int depth) noexcept {
  std::byte* const at = room(kMaxScalarBytes);
  if (at == nullptr) return no_memory();
  if (object == Py_None) {
    end_at(put_tag(at, Tag::none));
  } else if (PyFloat_CheckExact(object)) {
    end_at(put_raw(put_tag(at, Tag::float64), PyFloat_AS_DOUBLE(object)));
  } else if (object == Py_True) {
    end_at(put_tag(at, Tag::true_));
  } else if (object == Py_False) {
    end_at(put_tag(at, Tag::false_));
  } else {
    return no_number(object, depth, Role::value);
  }
  return Encoded::ok;
}

Encoded Encoder::no_number(PyObject* object, int depth, Role role) noexcept {
  const bool is_text = PyUnicode_CheckExact(object);
  std::optional<PlainArray> plain;
  if (!is_text && !PyBytes_CheckExact(object) && !PyTuple_CheckExact(object) &&
      !PyList_CheckExact(object) && !PyDict_CheckExact(object) && !PyComplex_CheckExact(object)) {
    if (role == Role::value) plain = plain_array(object);
    if (!plain) return Encoded::unsupported;
  }
  if (may_recur(object, depth)) {
    switch (recurs(object, depth, role)) {
      case Recurs::no: break;
      case Recurs::written: return Encoded::ok;
      case Recurs::impossible: return Encoded::unsupported;
      case Recurs::no_memory: return no_memory();
    }
  }
  if (is_text) return text(object);
  if (plain) return array(object, *plain);
  if (PyTuple_CheckExact(object)) {
    return role == Role::part_of_key ? Encoded::unsupported : tuple(object, depth, role);
  }
  if (PyBytes_CheckExact(object)) {
    return units(Tag::bytes, PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object), 1);
  }
  if (PyComplex_CheckExact(object)) {
    const Py_complex number = PyComplex_AsCComplex(object);
    std::byte* const at = room(kMaxScalarBytes);
    if (at == nullptr) return no_memory();
    end_at(put_raw(put_raw(put_tag(at, Tag::complex128), number.real), number.imag));
    return Encoded::ok;
  }
  if (role != Role::value) return Encoded::unsupported;
  return PyList_CheckExact(object) ? list(object, depth) : dict(object, depth);
}

// Only what no_number() may see again is a concern here: other scalars go through value().
Encoded Encoder::key(PyObject* object, int depth, Role role) noexcept {
  if (PyUnicode_CheckExact(object) || PyTuple_CheckExact(object) || PyBytes_CheckExact(object)) {
    return no_number(object, depth, role);
  }
  if (PyList_CheckExact(object) || PyDict_CheckExact(object)) return Encoded::unsupported;
  return value(object, depth);
}

Encoder::Recurs Encoder::recurs(PyObject* object, int depth, Role role) noexcept {
  auto place = static_cast<std::uint32_t>(written());
  switch (memo_.meet(object, place)) {
    case IdentityMemo::Met::first_time: return Recurs::no;
    case IdentityMemo::Met::no_memory: return Recurs::no_memory;
    case IdentityMemo::Met::before: break;
  }
  if (PyTuple_CheckExact(object) && (role != Role::value || is_open(object, depth))) {
    return Recurs::impossible;  // a tuple cannot be referred to before it is whole
  }
  std::byte* const at = room(1 + kMaxCountBytes);
  if (at == nullptr) return Recurs::no_memory;
  out_.data()[start_ + place] |= std::byte{kShared};
  end_at(put_count(put_tag(at, Tag::reference), place));
  return Recurs::written;
}

bool Encoder::is_open(PyObject* object, int depth) const noexcept {
  for (int i = 0; i < depth; ++i) {
    if (open_[i] == object) return true;
  }
  return false;
}

// In hexadecimal, which takes linear time and which sys.set_int_max_str_digits does not limit.
Encoded Encoder::big_int(PyObject* object) noexcept {
  const Ref digits = Ref::steal(PyNumber_ToBase(object, 16));
  if (!digits) return Encoded::error;
  return units(Tag::int_text, PyUnicode_DATA(digits.get()), PyUnicode_GET_LENGTH(digits.get()), 1);
}

Encoded Encoder::text(PyObject* object) noexcept {
  const auto kind = static_cast<unsigned>(PyUnicode_KIND(object));
  const Tag tag = kind == PyUnicode_1BYTE_KIND   ? Tag::str1
                  : kind == PyUnicode_2BYTE_KIND ? Tag::str2
                                                 : Tag::str4;
  return units(tag, PyUnicode_DATA(object), PyUnicode_GET_LENGTH(object), kind);
}

Encoded Encoder::units(Tag tag, const void* data, Py_ssize_t count, unsigned unit) noexcept {
  const std::size_t size = static_cast<std::size_t>(count) * unit;
  if (static_cast<std::size_t>(count) > kCodecMaxBytes || written() + size > kCodecMaxBytes) {
    return Encoded::unsupported;
  }
  std::byte* at = room(1 + kMaxCountBytes + size);
  if (at == nullptr) return no_memory();
  at = put_count(put_tag(at, tag), static_cast<std::uint32_t>(count));
  std::memcpy(at, data, size);
  end_at(at + size);
  return Encoded::ok;
}

Encoded Encoder::array(PyObject* object, const PlainArray& array) noexcept {
  const bool is_apart = array.size >= kLeastApart;
  const std::size_t inside = is_apart ? 0 : array.size;
  if ((is_apart && apart_ == nullptr) || written() + inside > kCodecMaxBytes) {
    return Encoded::unsupported;
  }
  std::byte* at = room(kMaxArrayHead + inside);
  if (at == nullptr) return no_memory();
  at = put_tag(at, Tag::array);
  at = put_raw(at, array.element);
  at = put_raw(at, static_cast<std::uint8_t>((array.is_read_only ? kReadOnly : 0) |
                                             (is_apart ? kApart : 0)));
  at = put_raw(at, static_cast<std::uint8_t>(array.shape.size()));
  for (const Py_ssize_t length : array.shape) at = put_raw(at, std::int64_t{length});
  if (inside != 0) std::memcpy(at, array.data, inside);
  end_at(at + inside);
  return is_apart ? put_apart(object) : Encoded::ok;
}

Encoded Encoder::put_apart(PyObject* array) noexcept {
  Py_buffer view;
  if (PyObject_GetBuffer(array, &view, PyBUF_SIMPLE) < 0) return Encoded::error;
  try {
    apart_->views.push_back(view);
    return Encoded::ok;
  } catch (const std::bad_alloc&) {
    PyBuffer_Release(&view);
    return no_memory();
  }
}

Encoded Encoder::head(Tag tag, Py_ssize_t items, int depth) noexcept {
  if (depth >= kCodecMaxDepth || static_cast<std::size_t>(items) > kCodecMaxBytes) {
    return Encoded::unsupported;
  }
  std::byte* const at = room(1 + kMaxCountBytes);
  if (at == nullptr) return no_memory();
  end_at(put_count(put_tag(at, tag), static_cast<std::uint32_t>(items)));
  return Encoded::ok;
}

Encoded Encoder::tuple(PyObject* object, int depth, Role role) noexcept {
  const Py_ssize_t size = PyTuple_GET_SIZE(object);
  if (const Encoded result = head(Tag::tuple, size, depth); result != Encoded::ok) return result;
  open_[depth] = object;
  for (Py_ssize_t i = 0; i != size; ++i) {
    PyObject* const item = PyTuple_GET_ITEM(object, i);
    const Encoded result =
        role == Role::value ? value(item, depth + 1) : key(item, depth + 1, Role::part_of_key);
    if (result != Encoded::ok) return result;
    if (written() > kCodecMaxBytes) return Encoded::unsupported;
  }
  return Encoded::ok;
}

Encoded Encoder::list(PyObject* object, int depth) noexcept {
  const Py_ssize_t size = PyList_GET_SIZE(object);
  if (const Encoded result = head(Tag::list, size, depth); result != Encoded::ok) return result;
  open_[depth] = object;
  for (Py_ssize_t i = 0; i != size; ++i) {
    const Encoded result = value(PyList_GET_ITEM(object, i), depth + 1);
    if (result != Encoded::ok) return result;
    if (written() > kCodecMaxBytes) return Encoded::unsupported;
  }
  return Encoded::ok;
}

Encoded Encoder::dict(PyObject* object, int depth) noexcept {
  if (const Encoded result = head(Tag::dict, PyDict_GET_SIZE(object), depth);
      result != Encoded::ok) {
    return result;
  }
  open_[depth] = object;
  Py_ssize_t at = 0;
  PyObject* item_key = nullptr;
  PyObject* item_value = nullptr;
  while (PyDict_Next(object, &at, &item_key, &item_value)) {
    Encoded result = key(item_key, depth + 1, Role::key);
    if (result != Encoded::ok) return result;
    result = value(item_value, depth + 1);
    if (result != Encoded::ok) return result;
    if (written() > kCodecMaxBytes) return Encoded::unsupported;
  }
  return Encoded::ok;
}

inline Encoded Encoder::counts(std::size_t positional, std::size_t keywords) noexcept {
  if (positional + keywords > kCodecMaxBytes) return Encoded::unsupported;
  std::byte* const at = room(2 * kMaxCountBytes);
  if (at == nullptr) return no_memory();
  end_at(put_count(put_count(at, static_cast<std::uint32_t>(positional)),
                   static_cast<std::uint32_t>(keywords)));
  return Encoded::ok;
}

Encoded Encoder::name(PyObject* object) noexcept {
  return PyUnicode_CheckExact(object) ? no_number(object, 0, Role::value) : Encoded::unsupported;
}

Encoded check_size(const ByteBuffer& out, std::size_t start, Encoded result) noexcept {
  const bool too_large = result == Encoded::ok && out.size() - start > kCodecMaxBytes;
  return too_large ? Encoded::unsupported : result;
}

// `counts`: how many bytes of them come before it, 0 or kOneArgumentCounts.
Encoded append_small_int(PyObject* object, ByteBuffer& out, std::size_t counts) noexcept {
  if (!out.reserve(counts + kMaxIntBytes)) {
    PyErr_NoMemory();
    return Encoded::error;
  }
  std::byte* at = out.data() + out.size();
  if (counts != 0) at = put_one_argument_counts(at);
  at = put_small_int(at, object);
  out.set_size(static_cast<std::size_t>(at - out.data()));
  return Encoded::ok;
}

// The part that both ways of giving a call have in common.
Encoded put_arguments(Encoder& encoder, PyObject* const* arguments, std::size_t positional,
                      std::size_t keywords) noexcept {
  Encoded result = encoder.counts(positional, keywords);
  for (std::size_t i = 0; result == Encoded::ok && i != positional; ++i) {
    result = encoder.value(arguments[i], 0);
  }
  return result;
}

}  // namespace

Encoded encode_value(PyObject* value, ByteBuffer& out, CollectedBuffers* apart) noexcept {
  if (is_small_int(value)) return append_small_int(value, out, 0);
  Encoder encoder(out, 1, apart);
  const std::size_t start = out.size();
  return encoder.finish(check_size(out, start, encoder.value(value, 0)));
}

Encoded encode_call(PyObject* const* arguments, std::size_t positional, PyObject* keyword_names,
                    ByteBuffer& out, CollectedBuffers* apart) noexcept {
  if (positional == 1 && keyword_names == nullptr && is_small_int(arguments[0])) {
    return append_small_int(arguments[0], out, kOneArgumentCounts);
  }
  const auto keywords =
      static_cast<std::size_t>(keyword_names == nullptr ? 0 : PyTuple_GET_SIZE(keyword_names));
  Encoder encoder(out, positional + 2 * keywords, apart);
  const std::size_t start = out.size();
  Encoded result = put_arguments(encoder, arguments, positional, keywords);
  for (std::size_t i = 0; result == Encoded::ok && i != keywords; ++i) {
    result = encoder.name(PyTuple_GET_ITEM(keyword_names, static_cast<Py_ssize_t>(i)));
  }
  for (std::size_t i = 0; result == Encoded::ok && i != keywords; ++i) {
    result = encoder.value(arguments[positional + i], 0);
  }
  return encoder.finish(check_size(out, start, result));
}

Encoded encode_call(PyObject* args_tuple, PyObject* kwargs_dict, ByteBuffer& out) noexcept {
  const auto positional = static_cast<std::size_t>(PyTuple_GET_SIZE(args_tuple));
  const auto keywords =
      static_cast<std::size_t>(kwargs_dict == nullptr ? 0 : PyDict_GET_SIZE(kwargs_dict));
  Encoder encoder(out, positional + 2 * keywords, nullptr);
  const std::size_t start = out.size();
  Encoded result = put_arguments(encoder, PySequence_Fast_ITEMS(args_tuple), positional, keywords);
  PyObject* name = nullptr;
  PyObject* value = nullptr;
  if (keywords != 0) {
    for (Py_ssize_t at = 0;
         result == Encoded::ok && PyDict_Next(kwargs_dict, &at, &name, &value);) {
      result = encoder.name(name);
    }
    for (Py_ssize_t at = 0;
         result == Encoded::ok && PyDict_Next(kwargs_dict, &at, &name, &value);) {
      result = encoder.value(value, 0);
    }
  }
  return encoder.finish(check_size(out, start, result));
}

}  // namespace owngil::workers

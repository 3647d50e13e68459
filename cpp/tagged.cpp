// SPDX-License-Identifier: BSD-3-Clause
#include "cpp/tagged.hpp"

#include "cpp/byte_reader.hpp"
#include "cpp/pickle_writer.hpp"
#include "workers/codec_format.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <unordered_map>

namespace owngil::cpp {
namespace {

using workers::kCodecMaxDepth;
using workers::kShared;
using workers::Tag;

struct Nonsense {};

void put_utf8(std::string& text, char32_t point) {
  const auto add = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (point < 0x80) return add(point);
  if (point < 0x800) {
    add(0xC0 | point >> 6);
  } else {
    if (point < 0x10000) {
      add(0xE0 | point >> 12);
    } else {
      if (point > 0x10FFFF) throw Nonsense();
      add(0xF0 | point >> 18);
      add(0x80 | (point >> 12 & 0x3F));
    }
    add(0x80 | (point >> 6 & 0x3F));
  }
  add(0x80 | (point & 0x3F));
}

// "-0x1f" to two's complement, little-endian.
Bytes integer_of(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (!text.starts_with("0x")) throw Nonsense();
  text.remove_prefix(2);
  if (text.empty()) throw Nonsense();
  Bytes bytes(text.size() / 2 + 1);  // with room for the sign
  for (std::size_t i = 0; i != text.size(); ++i) {
    const char digit = text[text.size() - 1 - i];
    unsigned number = 0;
    if (digit >= '0' && digit <= '9') {
      number = static_cast<unsigned>(digit - '0');
    } else if (digit >= 'a' && digit <= 'f') {
      number = static_cast<unsigned>(digit - 'a' + 10);
    } else {
      throw Nonsense();
    }
    bytes[i / 2] |= static_cast<std::byte>(number << (i % 2 == 0 ? 0 : 4));
  }
  if ((bytes.back() & std::byte{0x80}) != std::byte{0}) bytes.push_back(std::byte{0});
  if (negative) {
    unsigned carry = 1;
    for (std::byte& byte : bytes) {
      const unsigned sum = (~std::to_integer<unsigned>(byte) & 0xFFU) + carry;
      byte = static_cast<std::byte>(sum);
      carry = sum >> 8;
    }
  }
  return bytes;
}

class Transcoder : ByteReader<Nonsense> {
 public:
  Transcoder(std::span<const std::byte> tagged, std::span<const std::span<const std::byte>> buffers)
      : ByteReader(tagged), begin_(tagged.data()), buffers_(buffers) {}

  Bytes run() {
    value(0);
    if (!rest().empty()) throw Nonsense();
    return writer_.take();
  }

 private:
  std::uint32_t count() {
    std::uint64_t number = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
      const auto part = raw<std::uint8_t>();
      number |= static_cast<std::uint64_t>(part & 0x7FU) << shift;
      if ((part & 0x80U) == 0) {
        if (number > UINT32_MAX) break;
        return static_cast<std::uint32_t>(number);
      }
    }
    throw Nonsense();
  }
  // Of things that take at least `unit` bytes each.
  std::uint32_t count_of(std::size_t unit) {
    const std::uint32_t number = count();
    if (number > rest().size() / unit) throw Nonsense();
    return number;
  }

  template <typename Unit>
  void text() {
    const std::uint32_t size = count_of(sizeof(Unit));
    std::string utf8;
    utf8.reserve(size);
    for (std::uint32_t i = 0; i != size; ++i) put_utf8(utf8, raw<Unit>());
    writer_.text(utf8);
  }

  // numpy.ndarray(shape, type, buffer): whoever may not write to the bytes has them read-only.
  void array() {
    const auto element = workers::element_type(raw<std::uint8_t>());
    const auto flags = raw<std::uint8_t>();
    const auto dimensions = raw<std::uint8_t>();
    std::uint64_t size = element.size;
    if (size == 0 || dimensions > workers::kCodecMaxDimensions) throw Nonsense();
    writer_.global("numpy", "ndarray");
    writer_.op(Op::mark);
    writer_.op(Op::mark);
    for (std::uint8_t i = 0; i != dimensions; ++i) {
      const auto length = raw<std::int64_t>();
      if (length < 0 || __builtin_mul_overflow(size, static_cast<std::uint64_t>(length), &size)) {
        throw Nonsense();
      }
      writer_.integer(length);
    }
    writer_.op(Op::tuple);
    writer_.text({&element.letter, 1});
    const auto elements = (flags & workers::kApart) != 0 ? next_buffer() : take(size);
    if (elements.size() != size) throw Nonsense();
    if ((flags & workers::kReadOnly) != 0) {
      writer_.binary(elements);
    } else {
      writer_.byte_array(elements);
    }
    writer_.op(Op::tuple);
    writer_.op(Op::reduce);
  }
  std::span<const std::byte> next_buffer() {
    if (buffers_.empty()) throw Nonsense();
    const auto next = buffers_.front();
    buffers_ = buffers_.subspan(1);
    return next;
  }

  void value(int depth) {
    const auto place = static_cast<std::uint32_t>(rest().data() - begin_);
    const auto byte = raw<std::uint8_t>();
    const bool is_shared = (byte & kShared) != 0;
    const auto remember = [&] {
      if (!is_shared) return;
      const auto index = static_cast<std::uint32_t>(memo_.size());
      memo_.emplace(place, index);
      writer_.memo(Op::long_binput, index);
    };
    const Tag tag = static_cast<Tag>(byte & ~unsigned{kShared});
    switch (tag) {
      case Tag::none: writer_.op(Op::none); break;
      case Tag::false_: writer_.op(Op::newfalse); break;
      case Tag::true_: writer_.op(Op::newtrue); break;
      case Tag::int8: writer_.integer(raw<std::int8_t>()); break;
      case Tag::int32: writer_.integer(raw<std::int32_t>()); break;
      case Tag::int64: writer_.integer(raw<std::int64_t>()); break;
      case Tag::int_text: {
        const auto digits = take(count_of(1));
        writer_.big_integer(
            integer_of({reinterpret_cast<const char*>(digits.data()), digits.size()}));
        break;
      }
      case Tag::float64: writer_.real(raw<double>()); break;
      case Tag::complex128:
        writer_.global("builtins", "complex");
        writer_.real(raw<double>());
        writer_.real(raw<double>());
        writer_.op(Op::tuple2);
        writer_.op(Op::reduce);
        break;
      case Tag::bytes: writer_.binary(take(count_of(1))); break;
      case Tag::str1: text<std::uint8_t>(); break;
      case Tag::str2: text<std::uint16_t>(); break;
      case Tag::str4: text<std::uint32_t>(); break;
      case Tag::tuple:
        writer_.op(Op::mark);
        items(count_of(1), depth);
        writer_.op(Op::tuple);
        break;
      case Tag::array: array(); break;
      case Tag::list:
      case Tag::dict: return container(tag, depth, remember);
      case Tag::reference: {
        const auto found = memo_.find(count());
        if (found == memo_.end() || is_shared) throw Nonsense();
        writer_.memo(Op::long_binget, found->second);
        return;
      }
      default: throw Nonsense();
    }
    remember();
  }

  // One that has itself in it is remembered before that.
  template <typename Remember>
  void container(Tag tag, int depth, const Remember& remember) {
    const bool is_list = tag == Tag::list;
    const std::uint32_t size = count_of(is_list ? 1 : 2);
    writer_.op(is_list ? Op::empty_list : Op::empty_dict);
    remember();
    writer_.op(Op::mark);
    items(is_list ? size : std::uint64_t{2} * size, depth);
    writer_.op(is_list ? Op::appends : Op::setitems);
  }

  void items(std::uint64_t size, int depth) {
    if (depth >= kCodecMaxDepth) throw Nonsense();
    for (std::uint64_t i = 0; i != size; ++i) value(depth + 1);
  }

  const std::byte* const begin_;
  std::span<const std::span<const std::byte>> buffers_;  // that are not taken yet
  PickleWriter writer_;
  std::unordered_map<std::uint32_t, std::uint32_t> memo_;  // place, index in the pickle's memo
};

template <typename T>
std::optional<Value> number(std::span<const std::byte> body) {
  if (body.size() != sizeof(T)) return std::nullopt;
  T read;
  std::memcpy(&read, body.data(), sizeof read);
  return Value(read);
}

}  // namespace

std::optional<Bytes> tagged_to_pickle(std::span<const std::byte> tagged,
                                      std::span<const std::span<const std::byte>> buffers) {
  try {
    return Transcoder(tagged, buffers).run();
  } catch (const Nonsense&) {
    return std::nullopt;
  }
}

std::optional<Value> read_tagged_scalar(std::span<const std::byte> tagged) {
  if (tagged.empty()) return std::nullopt;
  const auto body = tagged.subspan(1);
  switch (static_cast<Tag>(tagged[0])) {
    case Tag::none: return body.empty() ? std::optional<Value>(Value()) : std::nullopt;
    case Tag::false_: return body.empty() ? std::optional<Value>(Value(false)) : std::nullopt;
    case Tag::true_: return body.empty() ? std::optional<Value>(Value(true)) : std::nullopt;
    case Tag::int8: return number<std::int8_t>(body);
    case Tag::int32: return number<std::int32_t>(body);
    case Tag::int64: return number<std::int64_t>(body);
    case Tag::float64: return number<double>(body);
    default: return std::nullopt;
  }
}

}  // namespace owngil::cpp

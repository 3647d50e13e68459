// SPDX-License-Identifier: BSD-3-Clause
#include "cpp/pickle_writer.hpp"

#include <bit>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace owngil::cpp {

static_assert(std::endian::native == std::endian::little, "pickle's numbers are little-endian");

namespace {

std::uint64_t big_endian(double number) {
  return __builtin_bswap64(std::bit_cast<std::uint64_t>(number));
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

PickleWriter::PickleWriter() {
  op(Op::proto);
  raw(kProtocol);
}

void PickleWriter::value(const Value& value, int depth) {
  if (depth > kMaxDepth) {
    throw std::invalid_argument("owngil: an argument is nested deeper than " +
                                std::to_string(kMaxDepth) + " levels");
  }
  struct Write {
    PickleWriter& to;
    int depth;

    void operator()(std::monostate) { to.op(Op::none); }
    void operator()(bool truth) { to.op(truth ? Op::newtrue : Op::newfalse); }
    void operator()(std::int64_t number) { to.integer(number); }
    void operator()(double number) { to.real(number); }
    void operator()(const std::string& text) {
      if (!is_utf8(text, true)) {
        throw std::invalid_argument("owngil: a string argument is not UTF-8; pass owngil::Bytes");
      }
      to.text(text);
    }
    void operator()(const Bytes& bytes) { to.binary(bytes); }
    void operator()(const List& list) {
      to.op(Op::empty_list);
      to.op(Op::mark);
      to.sequence(list, depth);
      to.op(Op::appends);
    }
    void operator()(const Tuple& tuple) {
      to.op(Op::mark);
      to.sequence(tuple.items, depth);
      to.op(Op::tuple);
    }
    void operator()(const Dict& dict) {
      to.op(Op::empty_dict);
      to.op(Op::mark);
      for (const auto& [key, item] : dict) {
        to.value(key, depth + 1);
        to.value(item, depth + 1);
      }
      to.op(Op::setitems);
    }
    void operator()(const Pickled& pickled) {
      to.global("_pickle", "loads");
      to.binary(pickled.bytes);
      to.op(Op::tuple1);
      to.op(Op::reduce);
    }
  };
  std::visit(Write{*this, depth}, value.data());
}

void PickleWriter::sequence(const std::vector<Value>& items, int depth) {
  for (const Value& item : items) value(item, depth + 1);
}

void PickleWriter::integer(std::int64_t number) {
  if (number >= 0 && number <= 0xFF) {
    op(Op::binint1);
    raw(static_cast<std::uint8_t>(number));
  } else if (std::in_range<std::int32_t>(number)) {
    op(Op::binint);
    raw(static_cast<std::int32_t>(number));
  } else {
    op(Op::long1);
    raw(std::uint8_t{sizeof number});
    raw(number);
  }
}

void PickleWriter::big_integer(std::span<const std::byte> little_endian) {
  op(Op::long4);
  raw(static_cast<std::int32_t>(little_endian.size()));
  append(little_endian);
}

void PickleWriter::real(double number) {
  op(Op::binfloat);
  raw(big_endian(number));
}

void PickleWriter::text(std::string_view utf8) {
  if (utf8.size() <= 0xFF) {
    op(Op::short_binunicode);
    raw(static_cast<std::uint8_t>(utf8.size()));
  } else {
    op(Op::binunicode8);
    raw(std::uint64_t{utf8.size()});
  }
  append(bytes_of(utf8));
}

void PickleWriter::binary(std::span<const std::byte> bytes) {
  if (bytes.size() <= 0xFF) {
    op(Op::short_binbytes);
    raw(static_cast<std::uint8_t>(bytes.size()));
  } else {
    op(Op::binbytes8);
    raw(std::uint64_t{bytes.size()});
  }
  append(bytes);
}

void PickleWriter::byte_array(std::span<const std::byte> bytes) {
  op(Op::bytearray8);
  raw(std::uint64_t{bytes.size()});
  append(bytes);
}

void PickleWriter::global(std::string_view module, std::string_view name) {
  op(Op::global);
  append(bytes_of(module));
  raw('\n');
  append(bytes_of(name));
  raw('\n');
}

void PickleWriter::memo(Op get_or_put, std::uint32_t index) {
  op(get_or_put);
  raw(index);
}

Bytes PickleWriter::take() {
  op(Op::stop);
  return std::move(bytes_);
}

Bytes with_buffers(std::span<const std::byte> pickle,
                   std::span<const std::span<const std::byte>> buffers) {
  PickleWriter writer;
  writer.global("owngil._direct", "loads");
  writer.binary(pickle);
  writer.op(Op::empty_list);
  writer.op(Op::mark);
  for (const auto buffer : buffers) writer.byte_array(buffer);
  writer.op(Op::appends);
  writer.op(Op::tuple2);
  writer.op(Op::reduce);
  return writer.take();
}

bool is_utf8(std::string_view text, bool surrogates) noexcept {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = at + text.size();
  while (at != end) {
    const unsigned first = *at++;
    if (first < 0x80) continue;
    const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    if (first < 0xC2 || first > 0xF4 || end - at < more) return false;
    char32_t point = first & (0x3FU >> more);
    for (int i = 0; i != more; ++i) {
      if ((*at & 0xC0U) != 0x80) return false;
      point = point << 6 | (*at++ & 0x3FU);
    }
    constexpr char32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
    if (point < kLeast[more] || point > 0x10FFFF) return false;
    if (!surrogates && point >= 0xD800 && point < 0xE000) return false;
  }
  return true;
}

}  // namespace owngil::cpp

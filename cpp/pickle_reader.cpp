// SPDX-License-Identifier: BSD-3-Clause
#include "cpp/pickle_reader.hpp"

#include "cpp/byte_reader.hpp"
#include "cpp/pickle_format.hpp"
#include "cpp/pickle_writer.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace owngil::cpp {
namespace {

using Index = std::uint32_t;
using Span = std::span<const std::byte>;

// What the pickle's machine has made, as a graph: an object that is met twice is one node.
struct Node {
  enum class Type : std::uint8_t {
    none,
    boolean,
    integer,
    big_integer,
    real,
    text,
    bytes,
    buffer,
    list,
    tuple,
    dict
  };
  Type type = Type::none;
  bool open = false;  // it is being copied
  std::int64_t number = 0;
  double real = 0;
  Span span = {};                 // in the pickle, or a buffer
  std::vector<Index> items = {};  // of a dict: key, value, key, …
};

// Throws NotPlain, which leaves this file in no way.
struct NotPlain {};

class Machine : ByteReader<NotPlain> {
 public:
  Machine(Span pickle, std::span<const Span> buffers)
      : ByteReader(pickle), buffers_(buffers), budget_(std::max(kMostBytes, 16 * pickle.size())) {}

  Value run() {
    while (step()) {
    }
    if (stack_.size() != 1 || !marks_.empty() || !rest().empty()) throw NotPlain();
    return copy(stack_.back(), 0);
  }

 private:
  using Type = Node::Type;

  // --- the stack

  Index make(Node node) {
    nodes_.push_back(std::move(node));
    return static_cast<Index>(nodes_.size() - 1);
  }
  void push(Node node) { stack_.push_back(make(std::move(node))); }
  void push(Type type, Span span) { push({.type = type, .span = span}); }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Index pop() {
    if (stack_.size() <= floor()) throw NotPlain();
    const Index top = stack_.back();
    stack_.pop_back();
    return top;
  }
  Node& top(Type wanted) {
    if (stack_.size() <= floor() || nodes_[stack_.back()].type != wanted) throw NotPlain();
    return nodes_[stack_.back()];
  }
  // What lies above the last mark, which goes, too.
  std::vector<Index> pop_to_mark() {
    if (marks_.empty()) throw NotPlain();
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Index> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }

  // --- the operations

  bool step() {
    const Op op = static_cast<Op>(raw<std::uint8_t>());
    switch (op) {
      case Op::proto: raw<std::uint8_t>(); break;
      case Op::frame: raw<std::uint64_t>(); break;
      case Op::stop: return false;
      case Op::mark: marks_.push_back(stack_.size()); break;
      case Op::pop: pop(); break;
      case Op::pop_mark: pop_to_mark(); break;
      case Op::none: push({.type = Type::none}); break;
      case Op::newtrue: push({.type = Type::boolean, .number = 1}); break;
      case Op::newfalse: push({.type = Type::boolean, .number = 0}); break;
      case Op::binint1: push({.type = Type::integer, .number = raw<std::uint8_t>()}); break;
      case Op::binint2: push({.type = Type::integer, .number = raw<std::uint16_t>()}); break;
      case Op::binint: push({.type = Type::integer, .number = raw<std::int32_t>()}); break;
      case Op::long1: push_long(take(raw<std::uint8_t>())); break;
      case Op::long4: push_long(take(raw<std::uint32_t>())); break;
      case Op::binfloat: {
        const auto bits = __builtin_bswap64(raw<std::uint64_t>());
        push({.type = Type::real, .real = std::bit_cast<double>(bits)});
        break;
      }
      case Op::short_binunicode: push(Type::text, take(raw<std::uint8_t>())); break;
      case Op::binunicode: push(Type::text, take(raw<std::uint32_t>())); break;
      case Op::binunicode8: push(Type::text, take(raw<std::uint64_t>())); break;
      case Op::short_binbytes: push(Type::bytes, take(raw<std::uint8_t>())); break;
      case Op::binbytes: push(Type::bytes, take(raw<std::uint32_t>())); break;
      case Op::binbytes8:
      case Op::bytearray8: push(Type::bytes, take(raw<std::uint64_t>())); break;
      case Op::next_buffer:
        if (next_buffer_ == buffers_.size()) throw NotPlain();
        push(Type::buffer, buffers_[next_buffer_++]);
        break;
      case Op::readonly_buffer: top(Type::buffer); break;
      case Op::binpersid: make_direct(); break;
      case Op::empty_list: push({.type = Type::list}); break;
      case Op::empty_dict: push({.type = Type::dict}); break;
      case Op::empty_tuple: push({.type = Type::tuple}); break;
      case Op::tuple1: push_tuple(1); break;
      case Op::tuple2: push_tuple(2); break;
      case Op::tuple3: push_tuple(3); break;
      case Op::tuple: {
        std::vector<Index> items = pop_to_mark();
        push({.type = Type::tuple, .items = std::move(items)});
        break;
      }
      case Op::append: {
        const Index item = pop();
        top(Type::list).items.push_back(item);
        break;
      }
      case Op::appends: extend(Type::list); break;
      case Op::setitem: {
        const Index item = pop();
        const Index key = pop();
        Node& dict = top(Type::dict);
        dict.items.push_back(key);
        dict.items.push_back(item);
        break;
      }
      case Op::setitems: extend(Type::dict); break;
      case Op::memoize: memo_[static_cast<Index>(memo_.size())] = peek(); break;
      case Op::binput: memo_[raw<std::uint8_t>()] = peek(); break;
      case Op::long_binput: memo_[raw<Index>()] = peek(); break;
      case Op::binget: get(raw<std::uint8_t>()); break;
      case Op::long_binget: get(raw<Index>()); break;
      case Op::reduce:
      case Op::global: throw NotPlain();
      default: throw NotPlain();
    }
    return true;
  }

  Index peek() {
    if (stack_.size() <= floor()) throw NotPlain();
    return stack_.back();
  }
  void get(Index key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) throw NotPlain();
    stack_.push_back(found->second);
  }
  void push_tuple(std::size_t size) {
    std::vector<Index> items(size);
    for (std::size_t i = size; i-- > 0;) items[i] = pop();
    push({.type = Type::tuple, .items = std::move(items)});
  }
  void extend(Type type) {
    const std::vector<Index> items = pop_to_mark();
    if (type == Type::dict && items.size() % 2 != 0) throw NotPlain();
    std::vector<Index>& into = top(type).items;
    into.insert(into.end(), items.begin(), items.end());
  }
  void push_long(Span bytes) {
    if (bytes.size() > sizeof(std::int64_t)) return push(Type::big_integer, bytes);
    std::uint64_t number = 0;
    std::memcpy(&number, bytes.data(), bytes.size());
    const bool negative = !bytes.empty() && (bytes.back() & std::byte{0x80}) != std::byte{0};
    if (negative && bytes.size() < sizeof number) number |= ~std::uint64_t{0} << 8 * bytes.size();
    push({.type = Type::integer, .number = static_cast<std::int64_t>(number)});
  }
  // A number is one that was made before; else (kind, buffer): see owngil._direct.
  void make_direct() {
    const Node& id = nodes_[pop()];
    if (id.type == Type::integer) {
      const auto number = static_cast<std::uint64_t>(id.number);
      if (number >= direct_.size()) throw NotPlain();
      stack_.push_back(direct_[static_cast<std::size_t>(number)]);
      return;
    }
    if (id.type != Type::tuple || id.items.size() != 2) throw NotPlain();
    const Node& kind = nodes_[id.items[0]];
    const Node& buffer = nodes_[id.items[1]];
    if (kind.type != Type::text || buffer.type != Type::buffer) throw NotPlain();
    const std::string_view word(reinterpret_cast<const char*>(kind.span.data()), kind.span.size());
    if (word != "bytes" && word != "bytearray") throw NotPlain();
    push(Type::bytes, buffer.span);
    direct_.push_back(stack_.back());
  }

  // --- the way out of the graph

  void pay(std::uint64_t bytes) {
    if (bytes > budget_) throw NotPlain();
    budget_ -= bytes;
  }

  Value copy(Index index, int depth) {
    Node& node = nodes_[index];
    if (node.open || depth > kMaxDepth) throw NotPlain();  // it has itself in it
    pay(sizeof(Value) + node.span.size());
    switch (node.type) {
      case Type::none: return {};
      case Type::boolean: return Value::of(node.number != 0);
      case Type::integer: return Value::of(node.number);
      case Type::real: return Value::of(node.real);
      case Type::text:
        return Value::of(
            std::string(reinterpret_cast<const char*>(node.span.data()), node.span.size()));
      case Type::bytes: return Value::of(Bytes(node.span.begin(), node.span.end()));
      case Type::big_integer: {
        PickleWriter writer;
        writer.big_integer(node.span);
        return Value::of(Pickled{writer.take()});
      }
      case Type::list: return Value::of(copy_items(node, depth));
      case Type::tuple: return Value::of(Tuple{copy_items(node, depth)});
      case Type::dict: {
        List all = copy_items(node, depth);
        Dict dict;
        dict.reserve(all.size() / 2);
        for (std::size_t i = 0; i != all.size(); i += 2) {
          dict.emplace_back(std::move(all[i]), std::move(all[i + 1]));
        }
        return Value::of(std::move(dict));
      }
      case Type::buffer: break;  // by itself it is a memoryview
    }
    throw NotPlain();
  }

  List copy_items(Node& node, int depth) {
    node.open = true;
    List list;
    list.reserve(node.items.size());
    for (const Index item : node.items) list.push_back(copy(item, depth + 1));
    node.open = false;
    return list;
  }

  const std::span<const Span> buffers_;
  std::uint64_t budget_;
  std::size_t next_buffer_ = 0;
  std::vector<Node> nodes_;
  std::vector<Index> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<Index, Index> memo_;
  std::vector<Index> direct_;
};

}  // namespace

std::optional<Value> read_pickle(Span pickle, std::span<const Span> buffers) {
  try {
    return Machine(pickle, buffers).run();
  } catch (const NotPlain&) {
    return std::nullopt;
  }
}

}  // namespace owngil::cpp

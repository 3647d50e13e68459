// SPDX-License-Identifier: BSD-3-Clause
// A plain Python value as a C++ value: what goes into a task, and what comes out of it.
//
//   None  bool  int (64 bits)  float   str            bytes  list  tuple  dict  anything else
//   none  bool  std::int64_t   double  std::string *  Bytes  List  Tuple  Dict  Pickled
//   * UTF-8; what comes from Python may hold lone surrogates, as its surrogatepass writes them
//
// Arguments are made of C++ values by Convert<T>, results are turned into them by value.as<T>():
// bool, integers, floating point, strings, Bytes, std::optional, vectors, arrays, pairs, tuples,
// maps, and what a program specialises Convert for.
// Threads: as any value: reading from several at once is allowed.
// Lifetime: owns all that it holds.
// Not: a Python object. It is a copy; nothing that happens to it is seen by a worker.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <owngil/errors.hpp>
#include <owngil/export.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace owngil {

class Value;

using Bytes = std::vector<std::byte>;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<Value, Value>>;  // in Python's order

struct Tuple {
  std::vector<Value> items;
};

// A pickle (any protocol that the worker's Python reads). As an argument, or a part of one, it is
// unpickled in the worker; as a result it is whatever is not plain, for some Python to unpickle.
struct Pickled {
  Bytes bytes;
};

// How a C++ type becomes a Value and comes back. A program may specialise it for its own types:
//   static Value to(T);  static T from(const Value&);
template <typename T>
struct Convert {};

template <typename T>
concept Sendable = requires(T&& value) { Convert<std::decay_t<T>>::to(std::forward<T>(value)); };
template <typename T>
concept Receivable = requires(const Value& value) {
  { Convert<T>::from(value) } -> std::convertible_to<T>;
};

class OWNGIL_EXPORT Value {
 public:
  using Data = std::variant<std::monostate, bool, std::int64_t, double, std::string, Bytes, List,
                            Tuple, Dict, Pickled>;

  Value() noexcept;  // None
  Value(const Value&);
  Value(Value&&) noexcept;
  Value& operator=(const Value&);
  Value& operator=(Value&&) noexcept;
  ~Value();

  // Throws std::out_of_range for an unsigned integer beyond 63 bits.
  template <typename T>
    requires(!std::same_as<std::decay_t<T>, Value> && !std::same_as<std::decay_t<T>, Data> &&
             Sendable<T>)
  Value(T&& value)  // NOLINT: arguments are given as they are
      : Value(Convert<std::decay_t<T>>::to(std::forward<T>(value))) {}
  static Value of(Data data);

  // For std::visit, std::get_if and std::holds_alternative.
  const Data& data() const { return data_; }
  Data& data() { return data_; }
  bool is_none() const { return data_.index() == 0; }
  const char* type_name() const;  // Python's word for it

  // Throws BadConversion: it is something else, or does not fit.
  template <Receivable T>
  T as() const {
    return Convert<T>::from(*this);
  }

  friend OWNGIL_EXPORT bool operator==(const Value& a, const Value& b);

 private:
  Data data_;
};

// --- conversions ------------------------------------------------------------------------------

namespace detail {

[[noreturn]] OWNGIL_EXPORT void throw_bad_conversion(const Value& value, const char* wanted);

template <typename T>
const T& get(const Value& value, const char* wanted) {
  const T* found = std::get_if<T>(&value.data());
  if (found == nullptr) throw_bad_conversion(value, wanted);
  return *found;
}

inline const std::vector<Value>& items(const Value& value, const char* wanted) {
  if (const auto* tuple = std::get_if<Tuple>(&value.data())) return tuple->items;
  return get<List>(value, wanted);
}

inline const std::vector<Value>& items(const Value& value, std::size_t size, const char* wanted) {
  const std::vector<Value>& found = items(value, wanted);
  if (found.size() != size) throw_bad_conversion(value, wanted);
  return found;
}

template <typename Map>
Map map_from(const Value& value) {
  Map map;
  for (const std::pair<Value, Value>& entry : get<Dict>(value, "a map")) {
    map.emplace(entry.first.as<typename Map::key_type>(),
                entry.second.as<typename Map::mapped_type>());
  }
  return map;
}

template <typename Map>
Value map_to(const Map& map) {
  Dict dict;
  dict.reserve(map.size());
  for (const auto& [key, item] : map) dict.emplace_back(Value(key), Value(item));
  return Value::of(std::move(dict));
}

// The alternatives themselves.
template <typename T>
struct Plain {
  static Value to(T value) { return Value::of(std::move(value)); }
  static T from(const Value& value) { return get<T>(value, "this alternative of owngil::Value"); }
};

}  // namespace detail

template <>
struct Convert<Value> {
  static Value to(Value value) { return value; }
  static Value from(const Value& value) { return value; }
};
template <>
struct Convert<bool> {
  static Value to(bool value) { return Value::of(value); }
  static bool from(const Value& value) { return detail::get<bool>(value, "bool"); }
};
template <>
struct Convert<Bytes> : detail::Plain<Bytes> {};
template <>
struct Convert<Tuple> : detail::Plain<Tuple> {};
template <>
struct Convert<Dict> : detail::Plain<Dict> {};
template <>
struct Convert<Pickled> : detail::Plain<Pickled> {};

template <>
struct Convert<std::nullptr_t> {
  static Value to(std::nullptr_t) { return {}; }
};
template <>
struct Convert<std::nullopt_t> {
  static Value to(std::nullopt_t) { return {}; }
};
template <>
struct Convert<std::monostate> {
  static Value to(std::monostate) { return {}; }
  static std::monostate from(const Value& value) {
    return detail::get<std::monostate>(value, "nothing (std::monostate)");
  }
};

template <std::integral T>
struct Convert<T> {
  static Value to(T value) {
    if constexpr (std::unsigned_integral<T> && sizeof(T) >= sizeof(std::int64_t)) {
      if (value > static_cast<T>(std::numeric_limits<std::int64_t>::max())) {
        throw std::out_of_range("owngil: an integer argument does not fit 64 bits with a sign");
      }
    }
    return Value::of(static_cast<std::int64_t>(value));
  }
  static T from(const Value& value) {
    const std::int64_t number = detail::get<std::int64_t>(value, "an integer of this size");
    if (!std::in_range<T>(number)) detail::throw_bad_conversion(value, "an integer of this size");
    return static_cast<T>(number);
  }
};

// An int may become a floating point number, as in Python; never the other way round.
template <std::floating_point T>
struct Convert<T> {
  static Value to(T value) { return Value::of(static_cast<double>(value)); }
  static T from(const Value& value) {
    if (const auto* number = std::get_if<std::int64_t>(&value.data())) {
      return static_cast<T>(*number);
    }
    return static_cast<T>(detail::get<double>(value, "a floating point number"));
  }
};

template <>
struct Convert<std::string> {
  static Value to(std::string value) { return Value::of(std::move(value)); }
  static std::string from(const Value& value) {
    return detail::get<std::string>(value, "std::string");
  }
};
template <>
struct Convert<std::string_view> {
  static Value to(std::string_view value) { return Value::of(std::string(value)); }
};
template <>
struct Convert<const char*> : Convert<std::string_view> {};
template <>
struct Convert<char*> : Convert<std::string_view> {};
template <>
struct Convert<std::span<const std::byte>> {
  static Value to(std::span<const std::byte> value) {
    return Value::of(Bytes(value.begin(), value.end()));
  }
};

template <typename T>
struct Convert<std::optional<T>> {
  static Value to(std::optional<T> value)
    requires Sendable<T>
  {
    return value ? Value(*std::move(value)) : Value();
  }
  static std::optional<T> from(const Value& value)
    requires Receivable<T>
  {
    if (value.is_none()) return std::nullopt;
    return value.as<T>();
  }
};

// A list; of tuples, too, comes a vector.
template <typename T>
struct Convert<std::vector<T>> {
  static Value to(const std::vector<T>& values)
    requires Sendable<T>
  {
    List list;
    list.reserve(values.size());
    for (auto&& value : values) list.emplace_back(static_cast<T>(value));
    return Value::of(std::move(list));
  }
  static std::vector<T> from(const Value& value)
    requires Receivable<T>
  {
    std::vector<T> made;
    for (const Value& item : detail::items(value, "a vector")) made.push_back(item.as<T>());
    return made;
  }
};
template <>
struct Convert<List> {
  static Value to(List values) { return Value::of(std::move(values)); }
  static List from(const Value& value) { return detail::items(value, "a list"); }
};
template <typename T, std::size_t N>
struct Convert<std::array<T, N>> {
  static Value to(const std::array<T, N>& values) {
    return Value::of(List(values.begin(), values.end()));
  }
  static std::array<T, N> from(const Value& value) {
    const auto& items = detail::items(value, N, "an array of this size");
    std::array<T, N> made;
    for (std::size_t i = 0; i != N; ++i) made[i] = items[i].template as<T>();
    return made;
  }
};

// A tuple; of a list of that length, too, come pair and tuple.
template <typename... T>
struct Convert<std::tuple<T...>> {
  static Value to(const std::tuple<T...>& values) {
    return std::apply([](const T&... item) { return Value::of(Tuple{{Value(item)...}}); }, values);
  }
  static std::tuple<T...> from(const Value& value) {
    const auto& items = detail::items(value, sizeof...(T), "a tuple of this size");
    return [&items]<std::size_t... I>(std::index_sequence<I...>) {
      return std::tuple<T...>{items[I].template as<T>()...};
    }(std::index_sequence_for<T...>());
  }
};
template <typename A, typename B>
struct Convert<std::pair<A, B>> {
  static Value to(const std::pair<A, B>& pair) {
    return Value::of(Tuple{{Value(pair.first), Value(pair.second)}});
  }
  static std::pair<A, B> from(const Value& value) {
    const auto& items = detail::items(value, 2, "a pair");
    return {items[0].as<A>(), items[1].as<B>()};
  }
};

template <typename K, typename V, typename... Rest>
struct Convert<std::map<K, V, Rest...>> {
  static Value to(const std::map<K, V, Rest...>& map) { return detail::map_to(map); }
  static std::map<K, V, Rest...> from(const Value& value) {
    return detail::map_from<std::map<K, V, Rest...>>(value);
  }
};
template <typename K, typename V, typename... Rest>
struct Convert<std::unordered_map<K, V, Rest...>> {
  static Value to(const std::unordered_map<K, V, Rest...>& map) { return detail::map_to(map); }
  static std::unordered_map<K, V, Rest...> from(const Value& value) {
    return detail::map_from<std::unordered_map<K, V, Rest...>>(value);
  }
};

}  // namespace owngil

// SPDX-License-Identifier: BSD-3-Clause
#include "owngil/value.hpp"

#include <array>
#include <utility>

namespace owngil {

namespace {

constexpr std::array kTypeNames = {"None",  "bool", "int",   "float", "str",
                                   "bytes", "list", "tuple", "dict",  "object that is not plain"};
static_assert(kTypeNames.size() == std::variant_size_v<Value::Data>);

struct Equal {
  template <typename A, typename B>
  bool operator()(const A&, const B&) const {
    return false;
  }
  template <typename A>
  bool operator()(const A& a, const A& b) const {
    return a == b;
  }
  bool operator()(const Tuple& a, const Tuple& b) const { return a.items == b.items; }
  bool operator()(const Pickled& a, const Pickled& b) const { return a.bytes == b.bytes; }
};

}  // namespace

Value::Value() noexcept = default;
Value::Value(const Value&) = default;
Value::Value(Value&&) noexcept = default;
// The copy first: whole, or not at all.
Value& Value::operator=(const Value& other) { return *this = Value(other); }
Value& Value::operator=(Value&&) noexcept = default;
Value::~Value() = default;

Value Value::of(Data data) {
  Value value;
  value.data_ = std::move(data);
  return value;
}

const char* Value::type_name() const { return kTypeNames[data_.index()]; }

bool operator==(const Value& a, const Value& b) { return std::visit(Equal(), a.data(), b.data()); }

namespace detail {

void throw_bad_conversion(const Value& value, const char* wanted) {
  throw BadConversion(std::string("a Python ") + value.type_name() + " is not " + wanted);
}

}  // namespace detail
}  // namespace owngil

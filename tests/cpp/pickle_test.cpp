// SPDX-License-Identifier: BSD-3-Clause
// Against the pickles of a real Python, in both directions, and against nonsense.
#include "cpp/pickle_reader.hpp"
#include "cpp/pickle_writer.hpp"
#include "cpp/tagged.hpp"
#include "tests/cpp/python_process.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

using namespace owngil;
using owngil::testing::run_python;
using owngil::testing::TemporaryFile;

using Span = std::span<const std::byte>;

Bytes bytes_of(const std::string& text) {
  const auto all = std::as_bytes(std::span(text));
  return {all.begin(), all.end()};
}

struct Case {
  std::string expression;
  Value value;
};

std::vector<Case> plain_cases() {
  constexpr auto kMin = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
  return {
      {"None", {}},
      {"True", true},
      {"False", false},
      {"0", 0},
      {"255", 255},
      {"256", 256},
      {"65535", 65535},
      {"-1", -1},
      {"-2**31", -2147483648LL},
      {"2**31", 2147483648LL},
      {"-2**63", kMin},
      {"2**63-1", kMax},
      {"0.1", 0.1},
      {"-1e308", -1e308},
      {"float('inf')", std::numeric_limits<double>::infinity()},
      {"''", ""},
      {"'abc'", "abc"},
      {"'\\xe9'", "\u00e9"},
      {"'\\u2603'", "\u2603"},
      {"'\\U0001D11E'", "\U0001D11E"},
      {"'a\\0b'", std::string("a\0b", 3)},
      {"'x'*300", std::string(300, 'x')},
      {"b''", Bytes()},
      {"b'\\x00\\xff'", Bytes{std::byte{0}, std::byte{255}}},
      {"b'y'*70000", bytes_of(std::string(70000, 'y'))},
      {"[]", List()},
      {"()", Tuple{}},
      {"{}", Dict()},
      {"[1, [2, [3]]]", List{1, List{2, List{3}}}},
      {"(1,)", std::tuple(1)},
      {"(1, 'a')", std::pair(1, "a")},
      {"(1, 2, 3)", std::tuple(1, 2, 3)},
      {"(1, 2, 3, 4)", std::tuple(1, 2, 3, 4)},
      {"{'a': 1, 'b': [2.5]}", Dict{{"a", 1}, {"b", List{2.5}}}},
      {"{1: None, (1, 2): 'x', b'k': False}",
       Dict{{1, {}}, {std::pair(1, 2), "x"}, {bytes_of("k"), false}}},
      {"list(range(3000))",
       [] {
         List list;
         for (int i = 0; i != 3000; ++i) list.push_back(i);
         return Value(std::move(list));
       }()},
      {"(lambda a: [a, a])([1])", List{List{1}, List{1}}},
      {"(lambda s: {s: s})('twice')", Dict{{"twice", "twice"}}},
  };
}

std::string literal_list(const std::vector<std::string>& expressions) {
  std::string text = "[";
  for (const std::string& one : expressions) text += one + ",\n";
  return text + "]";
}

// Each with its length before it.
std::vector<Bytes> split(Span all) {
  std::vector<Bytes> parts;
  while (all.size() >= sizeof(std::uint64_t)) {
    std::uint64_t size = 0;
    std::memcpy(&size, all.data(), sizeof size);
    const Span part = all.subspan(sizeof size, size);
    parts.emplace_back(part.begin(), part.end());
    all = all.subspan(sizeof size + size);
  }
  return parts;
}

std::vector<Bytes> python_bytes(const std::vector<std::string>& expressions,
                                const std::string& encode) {
  return split(run_python("import pickle, sys, struct, fractions\nsys.path.insert(0, '" +
                          std::string(OWNGIL_TEST_MODULES) + "')\n" + encode + "\nfor value in " +
                          literal_list(expressions) +
                          ":\n    data = encode(value)\n"
                          "    sys.stdout.buffer.write(struct.pack('<Q', len(data)) + data)\n"));
}

const std::string kTagged =
    "import owngil_codec_testing\nencode = owngil_codec_testing.encode_value";

std::vector<std::string> expressions_of(const std::vector<Case>& cases) {
  std::vector<std::string> expressions;
  for (const Case& one : cases) expressions.push_back(one.expression);
  return expressions;
}

const std::vector<std::string> kNotPlain = {"2**64",
                                            "[2**100]",
                                            "1+2j",
                                            "{1, 2}",
                                            "fractions.Fraction(1, 3)",
                                            "range(3)",
                                            "(lambda a: a.append(a) or a)([])"};

TEST(Pickle, reads_what_python_has_pickled_by_each_protocol) {
  const std::vector<Case> cases = plain_cases();
  for (const char* const protocol : {"2", "3", "4", "5"}) {
    // Before protocol 3 bytes are a call, and so not plain.
    const std::vector<Bytes> pickles =
        python_bytes(expressions_of(cases),
                     std::string("encode = lambda value: pickle.dumps(value, ") + protocol + ")");
    ASSERT_EQ(pickles.size(), cases.size());
    for (std::size_t i = 0; i != cases.size(); ++i) {
      const std::optional<Value> read = cpp::read_pickle(pickles[i]);
      const bool has_bytes = cases[i].expression.find("b'") != std::string::npos;
      if (*protocol == '2' && has_bytes) continue;
      ASSERT_TRUE(read) << cases[i].expression << " by protocol " << protocol;
      EXPECT_TRUE(*read == cases[i].value) << cases[i].expression << " by protocol " << protocol;
    }
  }
}

TEST(Pickle, reads_what_the_pickler_in_python_makes) {
  const std::vector<Case> cases = plain_cases();
  const std::vector<Bytes> pickles =
      python_bytes(expressions_of(cases), "encode = lambda value: pickle._dumps(value, 5)");
  ASSERT_EQ(pickles.size(), cases.size());
  for (std::size_t i = 0; i != cases.size(); ++i) {
    EXPECT_TRUE(cpp::read_pickle(pickles[i]) == cases[i].value) << cases[i].expression;
  }
}

TEST(Pickle, reads_what_workers_answer_in_the_tagged_codec) {
  std::vector<Case> cases = plain_cases();
  std::erase_if(cases, [](const Case& one) { return one.expression == "b'y'*70000"; });
  const std::vector<Bytes> encodings = python_bytes(expressions_of(cases), kTagged);
  ASSERT_EQ(encodings.size(), cases.size());
  for (std::size_t i = 0; i != cases.size(); ++i) {
    const std::optional<Bytes> pickle = cpp::tagged_to_pickle(encodings[i]);
    ASSERT_TRUE(pickle) << cases[i].expression;
    EXPECT_TRUE(cpp::read_pickle(*pickle) == cases[i].value) << cases[i].expression;
    if (const std::optional<Value> scalar = cpp::read_tagged_scalar(encodings[i])) {
      EXPECT_TRUE(*scalar == cases[i].value) << cases[i].expression;
    }
  }
}

TEST(Pickle, a_tagged_answer_that_is_not_plain_is_the_pickle_of_the_same) {
  const std::vector<std::string> expressions = {
      "2**64",   "-2**64", "-2**63-1",           "10**50",
      "-10**50", "1+2j",   "(1, [2**100, 'a'])", "'\\ud800'"};
  const std::vector<Bytes> encodings = python_bytes(expressions, kTagged);
  ASSERT_EQ(encodings.size(), expressions.size());
  Bytes all;
  for (const Bytes& one : encodings) {
    const std::optional<Bytes> pickle = cpp::tagged_to_pickle(one);
    ASSERT_TRUE(pickle);
    all.insert(all.end(), pickle->begin(), pickle->end());
  }
  const TemporaryFile file(all);
  run_python("import pickle, sys\nfile = open(sys.argv[1], 'rb')\nfor value in " +
                 literal_list(expressions) +
                 ":\n    got = pickle.load(file)\n"
                 "    assert repr(got) == repr(value), (got, value)\n",
             file.path());
}

// What went apart from it comes back in.
TEST(Pickle, a_tagged_array_is_a_pickle_that_numpy_reads) {
  if (run_python("try: import numpy\nexcept ImportError: print()").size() != 0) {
    GTEST_SKIP() << "NumPy is not installed";
  }
  const std::vector<std::string> expressions = {
      "numpy.arange(3.0)", "[numpy.ones((2, 0, 3), 'e'), 1]", "numpy.array(2, 'G')",
      "numpy.frombuffer(b'ab', 'B')"};
  const std::vector<Bytes> encodings =
      python_bytes(expressions,
                   "import numpy\nimport owngil_codec_testing\nencode = "
                   "owngil_codec_testing.encode_value");
  ASSERT_EQ(encodings.size(), expressions.size());
  Bytes all;
  for (const Bytes& one : encodings) {
    const std::optional<Bytes> pickle = cpp::tagged_to_pickle(one);
    ASSERT_TRUE(pickle);
    all.insert(all.end(), pickle->begin(), pickle->end());
  }
  const TemporaryFile file(all);
  run_python("import numpy, pickle, sys\nfile = open(sys.argv[1], 'rb')\nfor value in " +
                 literal_list(expressions) +
                 ":\n    got = pickle.load(file)\n"
                 "    assert repr(got) == repr(value), (got, value)\n"
                 "    if type(value) is numpy.ndarray:\n"
                 "        assert got.flags.writeable == value.flags.writeable\n",
             file.path());
}

TEST(Pickle, python_reads_what_was_written) {
  const std::vector<Case> cases = plain_cases();
  Bytes all;
  for (const Case& one : cases) {
    cpp::PickleWriter writer;
    writer.value(one.value);
    const Bytes pickle = writer.take();
    all.insert(all.end(), pickle.begin(), pickle.end());
  }
  const TemporaryFile file(all);
  run_python("import pickle, sys\nfile = open(sys.argv[1], 'rb')\nfor value in " +
                 literal_list(expressions_of(cases)) +
                 ":\n    got = pickle.load(file)\n"
                 "    assert repr(got) == repr(value), (got, value)\n"
                 "assert not file.read()\n",
             file.path());
}

TEST(Pickle, what_is_written_is_read_again) {
  for (const Case& one : plain_cases()) {
    cpp::PickleWriter writer;
    writer.value(one.value);
    EXPECT_TRUE(cpp::read_pickle(writer.take()) == one.value) << one.expression;
  }
}

TEST(Pickle, what_is_not_plain_is_not_read) {
  const std::vector<Bytes> pickles =
      python_bytes(kNotPlain, "encode = lambda value: pickle.dumps(value, 5)");
  ASSERT_EQ(pickles.size(), kNotPlain.size());
  for (std::size_t i = 0; i != pickles.size(); ++i) {
    const std::optional<Value> read = cpp::read_pickle(pickles[i]);
    if (i < 2) {
      // A large integer stays a pickle by itself, wherever it stands.
      const Value& number = i == 0 ? *read : std::get<List>(read->data())[0];
      EXPECT_TRUE(std::holds_alternative<Pickled>(number.data())) << kNotPlain[i];
    } else {
      EXPECT_FALSE(read) << kNotPlain[i];
    }
  }
}

TEST(Pickle, a_pickle_that_unfolds_to_more_than_memory_is_not_plain) {
  const std::vector<Bytes> pickles =
      python_bytes({"bomb()"},
                   "def bomb():\n    a = ['x']\n    for _ in range(60): a = [a, a]\n    return a\n"
                   "encode = lambda value: pickle.dumps(value, 5)");
  ASSERT_EQ(pickles.size(), 1U);
  EXPECT_FALSE(cpp::read_pickle(pickles[0]));
}

TEST(Pickle, nesting_without_an_end_is_refused_both_ways) {
  Value deep = List();
  for (int i = 0; i != cpp::kMaxDepth + 10; ++i) deep = List{std::move(deep)};
  cpp::PickleWriter writer;
  EXPECT_THROW(writer.value(deep), std::invalid_argument);
  Bytes pickle(100'000, std::byte{static_cast<unsigned char>(cpp::Op::empty_list)});
  pickle.insert(pickle.end(), 99'999, std::byte{static_cast<unsigned char>(cpp::Op::append)});
  pickle.push_back(std::byte{static_cast<unsigned char>(cpp::Op::stop)});
  EXPECT_FALSE(cpp::read_pickle(pickle));
}

TEST(Pickle, text_that_is_not_utf8_is_refused) {
  for (const std::string text : {"\x80", "\xC0\x80", "\xE2\x98", "\xF5\x80\x80\x80", "a\xFFz"}) {
    cpp::PickleWriter writer;
    EXPECT_THROW(writer.value(text), std::invalid_argument);
  }
}

// Flips, cuts, doubles and mixes what is good, and looks whether anything but an answer comes.
TEST(Pickle, nonsense_is_refused_or_read_and_nothing_else) {
  std::vector<std::string> expressions = expressions_of(plain_cases());
  std::erase(expressions, "b'y'*70000");
  std::vector<Bytes> tagged = python_bytes(expressions, kTagged);
  expressions.insert(expressions.end(), kNotPlain.begin(), kNotPlain.end());
  const std::vector<Bytes> pickles =
      python_bytes(expressions, "encode = lambda value: pickle.dumps(value, 5)");
  std::mt19937 random(12345);
  const auto below = [&random](std::size_t end) {
    return std::uniform_int_distribution<std::size_t>(0, end - 1)(random);
  };
  const auto mutated = [&](const std::vector<Bytes>& all) {
    Bytes bytes = all[below(all.size())];
    if (bytes.size() > 400) bytes.resize(400);
    for (std::size_t change = below(4) + 1; change-- > 0 && !bytes.empty();) {
      const auto at = static_cast<std::ptrdiff_t>(below(bytes.size()));
      switch (below(4)) {
        case 0: bytes[static_cast<std::size_t>(at)] = static_cast<std::byte>(below(256)); break;
        case 1: bytes.resize(static_cast<std::size_t>(at)); break;
        case 2: bytes.insert(bytes.begin() + at, static_cast<std::byte>(below(256))); break;
        default: {
          const Bytes& other = all[below(all.size())];
          const std::size_t size = std::min<std::size_t>(other.size(), 50);
          bytes.insert(bytes.begin() + at, other.begin(),
                       other.begin() + static_cast<std::ptrdiff_t>(size));
        }
      }
    }
    return bytes;
  };
  const std::array<Span, 1> buffers = {tagged[0]};
  int read = 0;
  for (int i = 0; i != 30'000; ++i) {
    read += cpp::read_pickle(mutated(pickles), buffers).has_value() ? 1 : 0;
    const Bytes answer = mutated(tagged);
    static_cast<void>(cpp::read_tagged_scalar(answer));
    if (const std::optional<Bytes> pickle = cpp::tagged_to_pickle(answer)) {
      static_cast<void>(cpp::read_pickle(*pickle));
    }
  }
  EXPECT_GT(read, 100);  // else it was not worth much
}

TEST(Conversions, values_become_what_is_asked_for) {
  EXPECT_EQ(Value(5).as<int>(), 5);
  EXPECT_EQ(Value(5).as<double>(), 5.0);
  EXPECT_EQ(Value("a").as<std::string>(), "a");
  EXPECT_EQ((Value(std::vector<int>{1, 2}).as<std::vector<double>>()),
            (std::vector<double>{1.0, 2.0}));
  EXPECT_EQ((Value(std::pair(1, 2)).as<std::vector<int>>()), (std::vector<int>{1, 2}));
  EXPECT_EQ((Value(List{1, "b"}).as<std::tuple<int, std::string>>()),
            (std::tuple<int, std::string>(1, "b")));
  EXPECT_EQ(
      (Value(std::map<std::string, int>{{"a", 1}}).as<std::unordered_map<std::string, int>>()),
      (std::unordered_map<std::string, int>{{"a", 1}}));
  EXPECT_EQ(Value().as<std::optional<int>>(), std::nullopt);
  EXPECT_EQ(Value(std::optional<int>(3)).as<std::optional<int>>(), 3);
  EXPECT_EQ((Value(std::array<int, 2>{1, 2}).as<std::array<int, 2>>()), (std::array<int, 2>{1, 2}));
  EXPECT_EQ(Value(std::vector<bool>{true, false}).as<std::vector<bool>>(),
            (std::vector<bool>{true, false}));
}

TEST(Conversions, what_does_not_fit_says_so) {
  EXPECT_THROW(Value(1.5).as<int>(), BadConversion);
  EXPECT_THROW(Value(300).as<std::uint8_t>(), BadConversion);
  EXPECT_THROW(Value(-1).as<unsigned>(), BadConversion);
  EXPECT_THROW(Value(true).as<int>(), BadConversion);
  EXPECT_THROW(Value("a").as<Bytes>(), BadConversion);
  EXPECT_THROW((Value(List{1, 2, 3}).as<std::pair<int, int>>()), BadConversion);
  EXPECT_THROW((Value(std::numeric_limits<std::uint64_t>::max())), std::out_of_range);
  try {
    static_cast<void>(Value(Dict()).as<double>());
    FAIL();
  } catch (const BadConversion& error) {
    EXPECT_STREQ(error.what(), "a Python dict is not a floating point number");
  }
}

}  // namespace

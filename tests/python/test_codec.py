# SPDX-License-Identifier: BSD-3-Clause
"""The tagged codec: what goes in comes out as under pickle, and no bytes can do harm."""

from __future__ import annotations

import collections
import enum
import gc
import itertools
import math
import pickle
import struct
import sys
from typing import Any

import owngil_codec_testing as codec
import pytest
from hypothesis import given
from hypothesis import strategies as st

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16

any_text = st.text(st.characters(exclude_categories=()))
ints = st.one_of(
    st.integers(),
    st.integers(-(2**64), 2**64),
    st.integers(0, 4000).map(lambda bits: (1 << bits) - 1),
)
floats = st.one_of(
    st.floats(),
    st.binary(min_size=8, max_size=8).map(lambda bits: struct.unpack("<d", bits)[0]),
)
scalars = st.one_of(st.none(), st.booleans(), ints, floats, st.complex_numbers())
leaves = st.one_of(scalars, any_text, st.binary())
keys = st.one_of(leaves, st.lists(leaves, max_size=3).map(tuple))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(keys, inner),
    ),
    max_leaves=30,
)


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """Containers whose parts are shared, and some of which contain themselves."""
    nodes: list[Any] = draw(st.lists(leaves, min_size=1, max_size=4))
    part = st.deferred(lambda: st.sampled_from(nodes))
    for _ in range(draw(st.integers(1, 6))):
        make = draw(st.sampled_from(("tuple", "list", "dict")))
        parts = draw(st.lists(part, max_size=4))
        if make == "tuple":
            nodes.append(tuple(parts))
        elif make == "list":
            nodes.append(parts)
        else:
            names = [node for node in nodes if isinstance(node, str | bytes | int)]
            nodes.append({name: draw(part) for name in names})
    for node in nodes:
        if isinstance(node, list) and draw(st.booleans()):
            node.append(draw(part))
    return nodes[-1]


def shape(value: Any, met: dict[int, int] | None = None) -> Any:
    """The value as something to compare: types, bits, and which parts are one object."""
    met = {} if met is None else met
    kind = type(value)
    if kind is float:
        return struct.pack("<d", value)
    if kind is complex:
        return struct.pack("<dd", value.real, value.imag)
    # Of one byte or character Python has one object, or, if C has filled it in, another.
    if kind in (tuple, list, dict) or (kind in (str, bytes) and len(value) > 1):
        if id(value) in met:
            return ("again", met[id(value)])
        met[id(value)] = len(met)
    if kind in (tuple, list):
        return (kind, [shape(item, met) for item in value])
    if kind is dict:
        return (kind, [(shape(key, met), shape(item, met)) for key, item in value.items()])
    return (kind, value)


def encode(value: Any) -> bytes:
    encoded = codec.encode_value(value)
    assert encoded is not None, "left to pickle"
    return encoded


def round_trip(value: Any) -> Any:
    return codec.decode_value(encode(value))


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@given(values)
def test_a_plain_value_comes_back_exactly(value: Any) -> None:
    encoded = codec.encode_value(value)
    if encoded is not None:
        assert shape(codec.decode_value(encoded)) == shape(value)


@given(leaves)
def test_every_scalar_and_string_is_plain(value: Any) -> None:
    assert shape(round_trip(value)) == shape(value)


@pytest.mark.parametrize(
    "value",
    [0, 127, 128, -128, -129, 2**31 - 1, 2**31, -(2**31) - 1, 2**63 - 1, 2**63, -(2**63) - 1]
    + ["", "a", "\x7f", "\x80", "\xff", "\u0100", "\uffff", "\U00010000", "\U0010ffff"]
    + ["\ud800", "\udc80 and \ud83d", "x\0y", "e\u0301"]
    + [b"", b"\0", (), [], {}, ((),), -0.0, math.inf, -math.inf],
    ids=ascii,
)
def test_values_at_the_edges_come_back_exactly(value: Any) -> None:
    assert shape(round_trip(value)) == shape(value)


def test_the_bits_of_a_nan_come_back() -> None:
    nan = struct.unpack("<d", b"\x01\x02\x03\x04\x05\x06\xf8\x7f")[0]
    assert struct.pack("<d", round_trip(nan)) == struct.pack("<d", nan)


@given(graphs())
def test_what_is_one_object_is_one_object_again_as_under_pickle(value: Any) -> None:
    encoded = codec.encode_value(value)
    if encoded is not None:
        assert shape(codec.decode_value(encoded)) == shape(pickle.loads(pickle.dumps(value, 5)))


def test_equal_parts_that_are_two_objects_stay_two() -> None:
    one, other = round_trip(([1], [1]))
    assert one is not other


def test_a_list_that_contains_itself_comes_back_so() -> None:
    value: list[Any] = [1]
    value.append(value)
    back = round_trip(value)
    assert back[0] == 1
    assert back[1] is back


def test_a_dict_that_contains_itself_comes_back_so() -> None:
    value: dict[str, Any] = {}
    value["self"] = (value, [value])
    back = round_trip(value)
    assert back["self"][0] is back
    assert back["self"][1][0] is back


def test_a_tuple_that_contains_itself_is_left_to_pickle() -> None:
    value: tuple[list[Any]] = ([],)
    value[0].append(value)
    assert codec.encode_value(value) is None


def test_many_shared_strings_are_found_again() -> None:
    names = [f"name {i}" for i in range(1000)]
    back = round_trip([names, names[::-1]])
    assert back == [names, names[::-1]]
    assert all(one is other for one, other in zip(back[0], reversed(back[1]), strict=True))


def test_short_strings_are_never_taken_for_each_other() -> None:
    letters = "\0a\xff"
    texts = ["".join(some) for size in range(6) for some in itertools.product(letters, repeat=size)]
    texts += [letter * size for letter in letters for size in range(6, 20)]
    texts += ["x" * at + "y" + "x" * (size - at) for size in range(20) for at in range(size)]
    for _ in range(2):
        for text in texts:
            assert round_trip([text, {text: 1}]) == [text, {text: 1}]


def test_a_key_that_comes_again_is_the_same_object() -> None:
    (one,), (other,) = round_trip({"a key": 1}), round_trip({"a key": 2})
    assert one is other


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Colour(enum.IntEnum):
    RED = 1


Pair = collections.namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    "value",
    [
        Text("x"),
        Number(1),
        Colour.RED,
        Pair(1, 2),
        collections.OrderedDict(a=1),
        collections.defaultdict(list),
        bytearray(b"x"),
        {1},
        frozenset(),
        object(),
        range(3),
        len,
    ],
    ids=repr,
)
def test_what_is_not_of_a_plain_type_is_left_to_pickle(value: Any) -> None:
    for inside in (value, (value,), [1, value], {"key": value}):
        assert codec.encode_value(inside) is None
    assert codec.encode_call(1, value) is None
    assert codec.encode_call(key=value) is None


@pytest.mark.parametrize(
    "key", [frozenset(), Text("x"), Pair(1, 2), ((1,),), (Number(1),)], ids=repr
)
def test_a_key_that_is_not_plain_is_left_to_pickle(key: Any) -> None:
    assert codec.encode_value({key: 1}) is None


def test_a_key_that_is_also_a_value_is_one_object_or_left_to_pickle() -> None:
    pair = (1, "x" * 3)
    back = round_trip({"first": 1, pair: pair})
    ((key, value),) = [item for item in back.items() if item[0] != "first"]
    assert key is value
    assert codec.encode_value([pair, {pair: 1}]) is None


def test_nesting_is_limited() -> None:
    assert round_trip(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    assert codec.encode_value(nested(MAX_DEPTH + 1)) is None
    assert codec.encode_value(nested(100_000)) is None


@pytest.mark.parametrize(
    "value",
    ["x" * MAX_BYTES, "\u0100" * (MAX_BYTES // 2), b"x" * MAX_BYTES, [None] * MAX_BYTES]
    + [1 << (MAX_BYTES * 4), ["x" * (MAX_BYTES // 4 * i) for i in range(1, 4)]],
    ids=lambda value: type(value).__name__,
)
def test_what_is_large_is_left_to_pickle(value: Any) -> None:
    assert codec.encode_value(value) is None
    assert codec.encode_call(value) is None
    assert codec.encode_value([value]) is None


def test_an_encoding_of_the_largest_size_is_read_again() -> None:
    value = b"x" * (MAX_BYTES - 4)
    assert len(encode(value)) == MAX_BYTES
    assert round_trip(value) == value


# --- calls


def seen(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


names = st.text(min_size=1)


@given(st.lists(values).map(tuple), st.dictionaries(names, values, max_size=5))
def test_a_call_comes_back_exactly(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    encoded = codec.encode_call(*args, **kwargs)
    assert codec.encode_call_of(args, kwargs) == encoded
    if encoded is not None:
        assert shape(codec.call_with(seen, encoded)) == shape((args, kwargs))


@given(graphs(), graphs())
def test_arguments_that_are_one_object_are_one_object_again(one: Any, other: Any) -> None:
    encoded = codec.encode_call(one, other, one, key=other)
    if encoded is not None:
        back = codec.call_with(seen, encoded)
        expected = pickle.loads(pickle.dumps(((one, other, one), {"key": other}), 5))
        assert shape(back) == shape(expected)


@pytest.mark.parametrize("count", [0, 1, 13, 14, 15, 300])
def test_a_call_may_have_any_number_of_arguments(count: int) -> None:
    args = tuple(range(count))
    kwargs = {f"k{i}": i for i in range(count)}
    assert codec.call_with(seen, codec.encode_call(*args, **kwargs)) == (args, kwargs)
    assert codec.call_pickled_with(seen, args, kwargs) == (args, kwargs)


def test_a_pickled_call_must_be_a_tuple_and_a_dict_of_names() -> None:
    for args, kwargs in (([], {}), ((), []), ((), {1: 2})):
        with pytest.raises(TypeError):
            codec.call_pickled_with(seen, args, kwargs)
    assert codec.call_pickled_with(seen, (1,), None) == ((1,), {})


# --- untrusted bytes


def try_all(data: bytes) -> None:
    for decode in (codec.decode_value, lambda data: codec.call_with(seen, data)):
        try:
            value = decode(data)
        except ValueError:
            continue
        repr(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    try_all(data)


@given(graphs(), st.data())
def test_an_encoding_with_wrong_bytes_is_a_value_or_a_value_error(
    value: Any, data: st.DataObject
) -> None:
    encoded = bytearray(codec.encode_value(value) or b"\x01")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] = data.draw(st.integers(0, 255))
    try_all(bytes(encoded))


@given(graphs())
def test_no_part_of_an_encoding_is_an_encoding(value: Any) -> None:
    encoded = codec.encode_value(value) or b""
    for end in range(len(encoded)):
        with pytest.raises(ValueError, match="bad tagged bytes"):
            codec.decode_value(encoded[:end])
    with pytest.raises(ValueError, match="bad tagged bytes"):
        codec.decode_value(encoded + b"\x01")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x12",
        b"\x0e\xff\xff\xff\xff\x0f",  # a tuple of 2**32 - 1
        b"\x0e\xff\xff\xff\xff\x7f",  # a count that is too large
        b"\x0e\xff\xff\xff\xff\xff\x01",
        b"\x0c\x01a\x00",  # a str of a wider kind than it needs
        b"\x0d\x01\x00\x00\x11\x00",  # beyond U+10FFFF
        b"\x0d\x01\xff\xff\xff\xff",
        b"\x11\x00",  # a reference to itself
        b"\x91\x00",
        b"\x8e\x01\x11\x00",  # a tuple that contains itself
        b"\x0f\x02\x01\x11\x02",  # a reference to what was not marked
        b"\x10\x01\x0f\x00\x01",  # a list as key
        b"\x10\x01\x0e\x01\x0e\x00\x01",  # a tuple in a tuple as key
        b"\x0e\x02\x8f\x00\x10\x01\x11\x02\x01",  # a list as key, by reference
        b"\x10\x02\x04\x01\x01\x04\x01\x01",  # a key twice
        b"\x07\x00",  # an int without digits
        b"\x07\x01g",
        b"\x07\x02--",
        b"\x0f\x01" * 17 + b"\x01",
        b"\x01\x01",
        b"\x0a" + b"\x01" * MAX_BYTES,
    ],
    ids=lambda data: data[:12].hex(),
)
def test_bytes_that_are_no_encoding_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - int() says some of them
        codec.decode_value(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x01\x00",
        b"\xff\xff\xff\xff\x0f\xff\xff\xff\xff\x0f",
        b"\x00\x01\x04\x01\x01",  # a name that is not a str
        b"\x00\x01\x0b\x01a",  # a name without a value
        b"\x00\x00\x01",
    ],
    ids=lambda data: data.hex(),
)
def test_bytes_that_are_no_call_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="bad tagged bytes"):
        codec.call_with(seen, data)


def test_nothing_is_left_of_what_was_decoded_or_refused() -> None:
    text = "some text"
    value: list[Any] = [text, (text, [text]), {text: (1, text)}, 2**100, 1.5]
    value.append(value)
    encoded = encode(value)
    call = codec.encode_call(value, key=value)
    wrong = [encoded[:end] for end in range(len(encoded))] + [encoded + b"\x01"]

    def churn() -> int:
        for data in wrong:
            try_all(data)
        codec.decode_value(encoded)
        codec.call_with(seen, call)
        gc.collect()
        return sys.getallocatedblocks()

    for _ in range(5):
        churn()
    before = churn()
    for _ in range(20):
        churn()
    assert churn() - before < 20

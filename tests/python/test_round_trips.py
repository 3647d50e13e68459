# SPDX-License-Identifier: BSD-3-Clause
"""Values come back exactly as pickle would bring them back: types, identity, cycles."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import math
import pickle
import reprlib
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import tasks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import owngil

SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats()
    | st.text(st.characters(), max_size=40)
    | st.text(st.characters(categories=["Cs"]), max_size=3)
    | st.binary(max_size=200)
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.lists(inner, max_size=6).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.booleans(), inner, max_size=5)
        | st.sets(st.integers() | st.text(max_size=3), max_size=4)
        | st.frozensets(st.integers(), max_size=4)
    ),
    max_leaves=25,
)


class Colour(enum.Enum):
    RED = 1


class Number(int):
    pass


class Word(str):
    pass


class Listing(list[Any]):
    pass


class Mapping(dict[Any, Any]):
    pass


class Pair(tuple[Any, ...]):
    pass


class Truth(enum.IntEnum):
    YES = 1


Point = collections.namedtuple("Point", "x y")


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[owngil.Pool]:
    with owngil.Pool(2) as pool:
        yield pool


def shape(value: Any) -> Any:
    """The value with all its types, floats as bits: `==` then means exactly the same."""
    kind = type(value)
    if kind is float:
        return kind, struct.pack("<d", value)
    if kind is complex:
        return kind, struct.pack("<dd", value.real, value.imag)
    if isinstance(value, list | tuple):
        return kind, [shape(item) for item in value]
    if isinstance(value, dict):
        return kind, [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return kind, value
    return kind, value


@SETTINGS
@given(value=plain)
def test_any_plain_value_makes_the_round_trip(shared_pool: owngil.Pool, value: Any) -> None:
    assert shape(shared_pool.submit(tasks.echo, value).result()) == shape(value)


@SETTINGS
@given(args=st.lists(plain, max_size=4), kwargs=st.dictionaries(st.text(max_size=6), plain))
def test_any_plain_arguments_make_the_round_trip(
    shared_pool: owngil.Pool, args: list[Any], kwargs: dict[str, Any]
) -> None:
    result = shared_pool.submit(tasks.capture, *args, **kwargs).result()
    assert shape(result) == shape((tuple(args), kwargs))


@SETTINGS
@given(items=st.lists(plain, max_size=30))
def test_any_plain_items_make_the_round_trip_through_map(
    shared_pool: owngil.Pool, items: list[Any]
) -> None:
    assert shape(list(shared_pool.map(tasks.echo, items))) == shape(items)


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        0,
        -1,
        2**31,
        -(2**31) - 1,
        2**63 - 1,
        2**63,
        -(2**63),
        -(2**63) - 1,
        2**64,
        10**4000,
        0.0,
        -0.0,
        math.inf,
        -math.inf,
        5e-324,
        "",
        "\0",
        "é",
        "日本",
        "\U0001f600",
        "\ud800",
        "a\udfffb",
        b"",
        b"\0\xff",
        (),
        [],
        {},
        set(),
        (1,),
        ((),),
        [[]],
        {True: 1},
        {1: True},
        {"b": 1, "a": 2},
        {(1, 2): [3]},
        bytearray(b"x"),
        range(3),
        slice(1, 2, 3),
        Ellipsis,
        NotImplemented,
        1j,
        int,
        len,
        Colour.RED,
        Truth.YES,
        Number(3),
        Word("w"),
        Listing([1]),
        Mapping(a=1),
        Pair((1, 2)),
        Point(1, 2),
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        collections.Counter("aab"),
        collections.deque([1, 2], maxlen=5),
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        datetime.datetime(2020, 2, 29, 12, tzinfo=datetime.UTC),
    ],
    ids=lambda value: f"{type(value).__name__} {reprlib.repr(value)!a}",
)
def test_this_value_makes_the_round_trip(shared_pool: owngil.Pool, value: Any) -> None:
    assert shape(shared_pool.submit(tasks.echo, value).result()) == shape(value)
    assert shape(next(shared_pool.map(tasks.echo, [value]))) == shape(value)


def test_nan_stays_nan_with_its_bits(shared_pool: owngil.Pool) -> None:
    (odd,) = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_BEEF))
    back = shared_pool.submit(tasks.echo, odd).result()
    assert math.isnan(back)
    assert struct.pack("<d", back) == struct.pack("<d", odd)


def test_a_subclass_in_a_container_stays_one(shared_pool: owngil.Pool) -> None:
    value = [Number(1), {"k": Word("w")}, (Listing([Pair((Truth.YES,))]),)]
    assert shape(shared_pool.submit(tasks.echo, value).result()) == shape(value)


def test_an_object_that_is_given_twice_is_one_object_there(shared_pool: owngil.Pool) -> None:
    shared = [1]
    assert shared_pool.submit(_are_one, shared, shared).result()
    assert shared_pool.submit(_are_one, shared, other=shared).result()
    assert not shared_pool.submit(_are_one, [1], [1]).result()


def test_an_object_that_is_twice_in_a_result_is_one_object_here(shared_pool: owngil.Pool) -> None:
    first, second = shared_pool.submit(_twice, [1]).result()
    assert first is second


def test_a_shared_object_deep_inside_stays_shared(shared_pool: owngil.Pool) -> None:
    shared = {"k": [1]}
    left, right = shared_pool.submit(tasks.echo, [(shared,), {"x": shared}]).result()
    assert left[0] is right["x"]


def test_cycles_come_back_as_cycles(shared_pool: owngil.Pool) -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    back = shared_pool.submit(tasks.echo, loop).result()
    assert back[1] is back
    knot: dict[str, Any] = {}
    knot["self"] = (knot,)
    back = shared_pool.submit(tasks.echo, knot).result()
    assert back["self"][0] is back


def test_identity_inside_one_call_is_as_under_pickle(shared_pool: owngil.Pool) -> None:
    word = "".join(["a", "b"])
    number = int("123456789012345678901234567890")
    for value in ([word, word], [number, number], [(1, word), (1, word)], [b"x" * 300] * 2):
        expected = pickle.loads(pickle.dumps(value, 5))
        back = shared_pool.submit(tasks.echo, value).result()
        assert (back[0] is back[1]) == (expected[0] is expected[1])


def test_very_deep_nesting_is_as_under_pickle(shared_pool: owngil.Pool) -> None:
    """Deep values travel; too deep ones fail with pickle's error and hurt nobody."""
    for depth in (50, 500, 200_000):
        value: list[Any] = []
        for _ in range(depth):
            value = [value]
        future = shared_pool.submit(tasks.echo, value)
        error = future.exception()
        if depth <= 50:
            assert error is None
        assert error is None or isinstance(
            error, RecursionError | pickle.PicklingError | owngil.RemoteError
        )
        while value:
            value = value[0]
    assert shared_pool.submit(tasks.echo, 1).result() == 1


def test_memory_views_of_large_buffers_travel(shared_pool: owngil.Pool) -> None:
    data = bytearray(b"abc") * 100_000
    assert shared_pool.submit(len, pickle.PickleBuffer(data)).result() == len(data)


def _are_one(one: Any, other: Any) -> bool:
    return one is other


def _twice(value: Any) -> Any:
    return value, value

# SPDX-License-Identifier: BSD-3-Clause
"""NumPy's arrays in the tagged codec: plain ones come back exactly, others are left to pickle."""

from __future__ import annotations

import math
import pickle
from typing import Any

import owngil_codec_testing as codec
import pytest
from hypothesis import given
from hypothesis import strategies as st

numpy = pytest.importorskip("numpy")

LETTERS = "?bBhHiIlLqQefdgFDG"
LEAST_APART = 16 * 1024


@st.composite
def plain_arrays(draw: st.DrawFn) -> Any:
    kind = numpy.dtype(draw(st.sampled_from(LETTERS)))
    shape = draw(st.lists(st.integers(0, 4), max_size=5))
    size = math.prod(shape)
    bits = draw(st.binary(min_size=size * kind.itemsize, max_size=size * kind.itemsize))
    if kind.char == "?":
        bits = bytes(bit & 1 for bit in bits)
    array = numpy.ndarray(shape, kind, bytearray(bits))
    array.flags.writeable = draw(st.booleans())
    return array


def round_trip(value: Any) -> Any:
    encoded = codec.encode_value(value)
    assert encoded is not None, "left to pickle"
    return codec.decode_value(encoded)


@given(plain_arrays())
def test_a_plain_array_comes_back_exactly(array: Any) -> None:
    back = round_trip(array)
    assert type(back) is numpy.ndarray
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert back.flags.writeable == array.flags.writeable
    assert back.flags.owndata


@given(plain_arrays())
def test_no_part_of_an_array_is_an_array(array: Any) -> None:
    encoded = codec.encode_value(array)
    assert encoded is not None
    for end in range(len(encoded)):
        with pytest.raises(ValueError, match="bad tagged bytes"):
            codec.decode_value(encoded[:end])


@given(plain_arrays(), st.data())
def test_an_array_with_wrong_bytes_is_a_value_or_a_value_error(
    array: Any, data: st.DataObject
) -> None:
    encoded = bytearray(codec.encode_value([array, array]) or b"\x01")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] = data.draw(st.integers(0, 255))
    for decode in (codec.decode_value, lambda all_: codec.call_with(len, b"\x01\x00" + all_)):
        try:
            decode(bytes(encoded))
        except (ValueError, TypeError):  # TypeError: it has no length
            pass


def test_arrays_inside_of_containers_are_plain() -> None:
    value = {"a": [numpy.arange(3), 1], "b": (numpy.array(2.5), "x")}
    back = round_trip(value)
    assert back["a"][0].tolist() == [0, 1, 2]
    assert back["b"][0].shape == ()
    assert repr(back) == repr(value)


def test_an_array_that_is_met_twice_is_one_array_again() -> None:
    array = numpy.arange(3)
    one, other, third = round_trip([array, array, array.copy()])
    assert one is other
    assert third is not one


def test_views_of_one_array_become_arrays_of_their_own() -> None:
    array = numpy.arange(6)
    head, tail = round_trip((array[:3], array[3:]))
    assert (head.tolist(), tail.tolist()) == ([0, 1, 2], [3, 4, 5])
    assert head.flags.owndata
    assert tail.flags.owndata


def test_an_array_whose_type_was_unpickled_is_plain() -> None:
    array = pickle.loads(pickle.dumps(numpy.arange(3.0), 5))
    assert array.dtype is not numpy.dtype("f8")  # but equal to it
    assert round_trip(array).tolist() == [0, 1, 2]


class Sub(numpy.ndarray):  # type: ignore[misc, name-defined]
    """One of a user's own."""


@pytest.mark.parametrize(
    "array",
    [
        numpy.arange(6).view(Sub),
        numpy.ma.masked_array([1, 2], [True, False]),
        numpy.asfortranarray(numpy.arange(6).reshape(2, 3)),
        numpy.arange(6)[::2],
        numpy.arange(3).astype(">i4"),
        numpy.array([(1, 2.5)], dtype="i4,f8"),
        numpy.array([{}, None], dtype=object),
        numpy.array(["a", "bc"]),
        numpy.array([b"a"]),
        numpy.arange(3).astype("datetime64[s]"),
        numpy.zeros(3, numpy.dtype("f8", metadata={"unit": "m"})),
        numpy.zeros(LEAST_APART // 8),
        numpy.float64(1),
        numpy.dtype("f8"),
    ],
    ids=lambda array: f"{type(array).__name__}-{array.dtype if hasattr(array, 'dtype') else ''}",
)
def test_what_is_no_plain_array_is_left_to_pickle(array: Any) -> None:
    assert codec.encode_value(array) is None
    assert codec.encode_value([array]) is None
    assert codec.encode_call(1, key=array) is None


def test_an_array_that_counts_more_than_there_is_room_for_is_no_encoding() -> None:
    for lengths in ((2**62, 2**62), (-1,), (2**60, 0), (0, 2**62, 2**62)):
        shape = b"".join(length.to_bytes(8, "little", signed=True) for length in lengths)
        with pytest.raises(ValueError):  # noqa: PT011 - NumPy says some of them
            codec.decode_value(b"\x12\x0c\x00" + bytes([len(lengths)]) + shape)


def test_an_array_is_no_key() -> None:
    array = b"\x12\x0c\x00\x00" + bytes(8)
    for encoded in (b"\x10\x01" + array + b"\x01", b"\x10\x01\x0e\x01" + array + b"\x01"):
        with pytest.raises(ValueError, match="a key that is not plain"):
            codec.decode_value(encoded)
    marked = b"\x0e\x02\x92" + array[1:] + b"\x10\x01\x11\x02\x01"
    with pytest.raises(ValueError, match="a key that is not plain"):
        codec.decode_value(marked)

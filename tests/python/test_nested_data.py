# SPDX-License-Identifier: BSD-3-Clause
"""Arbitrary nested data with large buffers in it comes back as it was, and as the task saw it."""

from __future__ import annotations

import array
from typing import Any

import pytest
import tasks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import owngil

pytestmark = pytest.mark.kinds("process", "auto")  # NumPy refuses to load in interpreters

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)

# On both sides of the size from which on a buffer goes apart from the rest.
sizes = st.integers(0, 300_000) | st.sampled_from(
    [4096, 16383, 16384, 65535, 65536, 65537, 131072, 131080, 262144]
)


def pattern(size: int, seed: int) -> bytes:
    period = bytes((seed + n) % 251 for n in range(251))
    return (period * (size // 251 + 1))[:size]


raw = st.builds(pattern, sizes, st.integers(0, 250))
leaves = (
    st.none()
    | st.integers()
    | st.text(max_size=20)
    | raw
    | raw.map(bytearray)
    | raw.map(lambda data: array.array("B", data))
)
try:
    import numpy
except ImportError:
    pass
else:
    kinds = st.sampled_from(["u1", "<i2", ">i4", "f8", "c16", "S7", "M8[s]"])
    leaves |= st.builds(
        lambda data, kind: numpy.frombuffer(
            data[: len(data) // numpy.dtype(kind).itemsize * numpy.dtype(kind).itemsize], kind
        ).copy(),
        raw,
        kinds,
    )
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def plain(value: Any) -> Any:
    """The same without arrays, which do not compare as wholes."""
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(plain, value)]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if hasattr(value, "dtype"):
        return ["ndarray", str(value.dtype), value.shape, value.tobytes()]
    if isinstance(value, (bytearray, array.array)):
        return [type(value).__name__, bytes(value)]
    return [type(value).__name__, value]


def seen_and_spoiled(value: Any) -> Any:
    """What the task sees; then it writes over all that it can."""
    seen = plain(value)
    spoil(value)
    return seen


def spoil(value: Any) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            spoil(one)
    elif isinstance(value, bytearray) or hasattr(value, "dtype"):
        view = memoryview(value if isinstance(value, bytearray) else value.view("u1"))
        if view.nbytes and not view.readonly:
            view[:] = b"\xff" * view.nbytes


@SETTINGS
@given(value=values)
def test_nested_data_comes_back_as_it_was(pool: owngil.Pool, value: Any) -> None:
    expected = plain(value)
    back = pool.submit(tasks.echo, value)
    seen = pool.submit(seen_and_spoiled, value)
    again = list(pool.map(tasks.echo, [value, value]))
    assert plain(back.result()) == expected
    assert seen.result() == expected
    assert [plain(one) for one in again] == [expected, expected]
    assert plain(value) == expected


@SETTINGS
@given(value=values)
def test_nested_data_can_be_shared(pool: owngil.Pool, value: Any) -> None:
    expected = plain(value)
    with pool.share(value) as shared:
        spoil(value)
        assert plain(pool.submit(tasks.echo, shared).result()) == expected

# SPDX-License-Identifier: BSD-3-Clause
"""NumPy arrays as arguments and results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tasks

import owngil
from harness import kinds, scripts

numpy = pytest.importorskip("numpy")

pytestmark = pytest.mark.kinds("process", "auto")  # NumPy refuses to load in interpreters

KIB = 1024
# In the encoding itself, in a block and copied, in a block that the array lies over.
SIZES = (0, 8, 200, 4 * KIB, 16 * KIB - 8, 16 * KIB, 64 * KIB, 128 * KIB, 128 * KIB + 8, 1 << 20)


def test_numpy_arrays_make_the_round_trip(pool: owngil.Pool) -> None:
    for array in (
        numpy.arange(10),
        numpy.arange(2_000_000, dtype="float64").reshape(1000, 2000),
        numpy.asfortranarray(numpy.arange(12).reshape(3, 4)),
        numpy.array(["a", None], dtype=object),
    ):
        back = pool.submit(tasks.echo, array).result()
        assert back.dtype == array.dtype
        assert back.flags.f_contiguous == array.flags.f_contiguous
        assert (back == array).all()
        back[0] = back[1]  # the result is the caller's own, and writable


@pytest.mark.parametrize("size", SIZES)
def test_arrays_of_any_size_make_the_round_trip(pool: owngil.Pool, size: int) -> None:
    array = numpy.arange(size // 8)
    for _ in range(3):
        back = pool.submit(tasks.echo, array).result()
        assert (back == array).all()
        back += 1
    (back,) = pool.map(tasks.echo, [array])
    assert (back == array).all()


@pytest.mark.parametrize("size", SIZES)
def test_a_read_only_array_of_any_size_stays_so(pool: owngil.Pool, size: int) -> None:
    array = numpy.arange(size // 8)
    array.flags.writeable = False
    assert not pool.submit(tasks.echo, array).result().flags.writeable


def test_arrays_among_other_things_make_the_round_trip(pool: owngil.Pool) -> None:
    arrays = {size: numpy.arange(size // 8) for size in SIZES}
    back = pool.submit(tasks.echo, {"all": [arrays, list(arrays.values())], "n": 1}).result()
    assert back["n"] == 1
    again, values = back["all"]
    assert list(again) == list(SIZES)
    for size, value in zip(SIZES, values, strict=True):
        assert again[size] is value
        assert (value == arrays[size]).all()


def test_map_takes_and_returns_arrays_of_any_size(pool: owngil.Pool) -> None:
    arrays = [numpy.full(size // 8, float(n)) for n, size in enumerate(SIZES * 20)]
    for array, back in zip(arrays, pool.map(numpy.negative, arrays, chunksize=7), strict=True):
        assert (back == -array).all()


def _fill(array: Any) -> float:
    array[:] = 1
    return float(array.sum())


@pytest.mark.parametrize("size", SIZES)
def test_an_array_that_a_task_changes_is_its_own(pool: owngil.Pool, size: int) -> None:
    array = numpy.zeros(size // 8)
    for _ in range(4):
        assert pool.submit(_fill, array).result() == size // 8
    assert not array.any()


_kept: list[Any] = []


def _keep(array: Any) -> list[float]:
    _kept.append(array)
    return [float(one[0]) for one in _kept]


@pytest.mark.parametrize("size", SIZES[1:])
def test_an_array_that_a_task_keeps_does_not_change(size: int) -> None:
    with owngil.Pool(1) as pool:
        for n in range(5):
            seen = pool.submit(_keep, numpy.full(size // 8, float(n))).result()
            assert seen == [float(i) for i in range(n + 1)]


def test_a_user_who_has_not_imported_numpy_gets_arrays() -> None:
    done = scripts.run_code(
        """
        import sys
        import owngil
        def make(size):
            import numpy
            return numpy.ones(size), [numpy.zeros(3)]
        with owngil.Pool(1) as pool:
            for size in (3, 10_000, 100_000):
                one, (other,) = pool.submit(make, size).result()
                print(one.sum() == size, other.tolist())
            del sys.modules["numpy"]
        """
    )
    assert done.lines == ["True [0.0, 0.0, 0.0]"] * 3


@pytest.mark.parametrize("size", [3, 10_000, 100_000])
def test_a_worker_without_numpy_says_so(size: int) -> None:
    done = scripts.run_code(
        f"""
        import numpy
        import owngil
        def hide():
            import sys
            sys.modules["numpy"] = None
        with owngil.Pool(1) as pool:
            pool.submit(hide).result()
            for _ in range(3):
                error = pool.submit(len, numpy.ones({size})).exception()
                print(isinstance(error, ImportError), "do not unpickle in the worker" in str(error))
            print(pool.submit(len, "abc").result())
        """
    )
    assert done.lines == ["True True"] * 3 + ["3"]


@pytest.mark.skipif("interpreter" not in kinds.HERE, reason="this Python has no such workers")
@pytest.mark.parametrize("size", [3, 10_000, 100_000])
def test_an_interpreter_that_cannot_load_numpy_says_so(size: int) -> None:
    with owngil.Pool(1, kind="interpreter") as pool:
        for _ in range(3):
            error = pool.submit(len, numpy.ones(size)).exception()
            assert isinstance(error, ImportError)
            assert "do not unpickle in the worker" in str(error)
            (error,) = errors_of(pool.map(len, [numpy.ones(size)]))
            assert isinstance(error, ImportError)
        assert pool.submit(len, "abc").result() == 3


def errors_of(results: Iterator[Any]) -> list[Exception]:
    try:
        list(results)
    except Exception as error:
        return [error]
    return []

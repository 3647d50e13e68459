# SPDX-License-Identifier: BSD-3-Clause
"""NumPy's arrays in the worker's arena: handed over if nobody else has them, else copied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import tasks

import owngil

numpy = pytest.importorskip("numpy")

pytestmark = pytest.mark.kinds("process")  # NumPy refuses to load in interpreters

LARGE = 100_000


@pytest.fixture
def pool() -> Iterator[owngil.Pool]:
    """One worker that has returned something large: from then on NumPy's memory is its arena."""
    with owngil.Pool(1) as pool:
        pool.submit(numpy.ones, LARGE).result()
        yield pool


def place(array: Any) -> tuple[str, int]:
    """The file that an array's memory is mapped from, and where in it."""
    address = array.ctypes.data
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, _, offset, _, _, *path = line.split()
            begin, end = (int(one, 16) for one in span.split("-"))
            if begin <= address < end:
                return (path[0] if path else ""), int(offset, 16) + address - begin
    raise LookupError(hex(address))


def _make_and_tell(*shape: int) -> tuple[Any, tuple[str, int]]:
    array = numpy.full(shape, 3.0)
    return array, place(array)


def test_an_array_that_a_task_lets_go_of_is_not_copied(pool: owngil.Pool) -> None:
    array, there = pool.submit(_make_and_tell, 100, 2000).result()
    assert "owngil-results" in there[0]
    assert place(array)[1] == there[1]
    assert (array == 3).all()


_kept: list[Any] = []


def _make_and_keep() -> tuple[Any, tuple[str, int]]:
    array = numpy.full(LARGE, 3.0)
    _kept.append(array)
    return array, place(array)


def _change_kept() -> float:
    for array in _kept:
        array += 1
    return float(sum(array[0] for array in _kept))


def test_an_array_that_a_task_keeps_is_copied(pool: owngil.Pool) -> None:
    array, there = pool.submit(_make_and_keep).result()
    assert "owngil-results" in there[0]
    assert place(array)[1] != there[1]
    assert pool.submit(_change_kept).result() == 4
    assert (array == 3).all()
    again, there = pool.submit(_make_and_keep).result()
    assert pool.submit(_change_kept).result() == 5 + 4
    assert (array == 3).all()
    assert (again == 3).all()


def _views() -> tuple[Any, ...]:
    array = numpy.arange(2 * LARGE)
    return array, array[:LARGE], array[LARGE:], array.view("float64"), array[::-1]


def test_views_of_one_array_arrive_as_arrays_of_their_own(pool: owngil.Pool) -> None:
    whole, head, tail, other, backwards = pool.submit(_views).result()
    expected = numpy.arange(2 * LARGE)
    assert (whole == expected).all()
    assert (head == expected[:LARGE]).all()
    assert (tail == expected[LARGE:]).all()
    assert (other.view("int64") == expected).all()
    assert (backwards == expected[::-1]).all()


def _resized() -> Any:
    array = numpy.arange(LARGE)
    array.resize(3 * LARGE, refcheck=False)
    array[LARGE:] = 7
    array.resize(2 * LARGE, refcheck=False)
    return array


def test_an_array_may_grow_and_shrink(pool: owngil.Pool) -> None:
    array = pool.submit(_resized).result()
    assert (array[:LARGE] == numpy.arange(LARGE)).all()
    assert (array[LARGE:] == 7).all()


def test_zeros_are_zeros_in_memory_that_was_used_before(pool: owngil.Pool) -> None:
    for _ in range(5):
        pool.submit(numpy.ones, LARGE).result()
        assert not pool.submit(numpy.zeros, LARGE).result().any()


def _objects() -> list[Any]:
    return [len(one) for one in numpy.array([[1]] * LARGE, dtype=object)[:3]]


def test_arrays_of_objects_live_there_too(pool: owngil.Pool) -> None:
    assert pool.submit(_objects).result() == [1, 1, 1]
    back = pool.submit(numpy.full, LARGE, None).result()
    assert back.dtype == object
    assert back[-1] is None


def _fork_with_arrays() -> tuple[int, float, float]:
    """What a child of fork sees and writes is its own, and so is what its parent does."""
    array = numpy.full(LARGE, 1.0)
    forks = numpy.full(LARGE, 2.0)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reading, 1)  # until the parent has written
        seen = array.sum() == LARGE and forks.sum() == 2 * LARGE
        array += 10
        grown = numpy.concatenate([array, forks])
        os._exit(0 if seen and grown.sum() == 13 * LARGE else 1)
    array += 4
    os.write(writing, b"x")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(reading)
    os.close(writing)
    return status, float(array.sum()), float(forks.sum())


def test_a_task_that_forks_has_arrays_as_any_process_has(pool: owngil.Pool) -> None:
    for _ in range(3):
        assert pool.submit(_fork_with_arrays).result() == (0, 5 * LARGE, 2 * LARGE)
    assert (pool.submit(numpy.ones, LARGE).result() == 1).all()


def test_arrays_that_a_task_keeps_last_until_the_worker_is_gone() -> None:
    with owngil.Pool(1, max_tasks_per_child=3) as pool:
        for _ in range(4):
            pool.submit(numpy.ones, LARGE).result()
            pool.submit(_make_and_keep).result()
            assert pool.submit(_change_kept).result() == 4


def test_a_dead_worker_leaves_nothing_but_what_the_user_holds(pool: owngil.Pool) -> None:
    held = [pool.submit(numpy.full, LARGE, n).result() for n in range(4)]
    held[1:3] = []
    dying = pool.submit(tasks.end_by_signal)
    assert isinstance(dying.exception(), owngil.WorkerDied)
    assert (pool.submit(numpy.ones, LARGE).result() == 1).all()
    assert [int(one[0]) for one in held] == [0, 3]
    held[0] += 1
    assert held[0].sum() == LARGE

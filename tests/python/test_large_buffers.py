# SPDX-License-Identifier: BSD-3-Clause
"""Large buffers in arguments and results: whole, private, writable, and given back."""

from __future__ import annotations

import gc
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import tasks

import owngil
from harness import arenas
from harness.conditions import wait_until

numpy = pytest.importorskip("numpy")

pytestmark = pytest.mark.kinds("process", "auto")  # NumPy refuses to load in interpreters

LARGE = 3 * 64 * 1024 + 8
MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # CPython 3.12 has no name for it


@dataclass
class Holder:
    name: str
    data: Any


def test_buffers_are_found_inside_any_object(pool: owngil.Pool) -> None:
    value = {
        "deep": [[[Holder("a", numpy.arange(LARGE))]]],
        "bytes": Holder("b", bytes(LARGE)),
        "view": (Holder("c", numpy.arange(LARGE)[::2]),),
    }
    back = pool.submit(tasks.echo, value).result()
    assert (back["deep"][0][0][0].data == value["deep"][0][0][0].data).all()
    assert back["bytes"].data == bytes(LARGE)
    assert (back["view"][0].data == numpy.arange(LARGE)[::2]).all()


def test_an_argument_is_what_it_was_at_submit(pool: owngil.Pool) -> None:
    values = numpy.zeros(LARGE)
    futures = []
    for n in range(20):
        values[:] = n
        futures.append(pool.submit(numpy.sum, values))
    assert [future.result() for future in futures] == [n * LARGE for n in range(20)]


def _add_one(values: Any) -> float:
    values += 1
    return float(values.sum())


def test_an_array_argument_is_the_tasks_own_and_writable(pool: owngil.Pool) -> None:
    values = numpy.zeros(LARGE)
    assert [pool.submit(_add_one, values).result() for _ in range(8)] == [LARGE] * 8
    assert not values.any()


def test_what_a_task_wrote_to_a_block_is_not_seen_by_the_next(pool: owngil.Pool) -> None:
    for n in range(30):  # the blocks are used again and again, by both workers
        values = numpy.full(LARGE + 512 * (n % 3), n, dtype="int32")
        results = [pool.submit(_add_one, values) for _ in range(3)]
        assert [result.result() for result in results] == [(n + 1) * len(values)] * 3


_kept: list[Any] = []


def _keep(values: Any) -> None:
    _kept.append(values[10:-10])


def _kept_sums() -> list[float]:
    return [float(values.sum()) for values in _kept]


def _drop_kept() -> None:
    _kept.clear()
    gc.collect()


def test_a_view_that_a_task_keeps_never_changes() -> None:
    with owngil.Pool(1) as pool:
        for n in range(5):
            pool.submit(_keep, numpy.full(LARGE, n)).result()
        for n in range(20):
            pool.submit(numpy.sum, numpy.full(LARGE, 100 + n)).result()
        sums = pool.submit(_kept_sums).result()
        assert sums == [n * (LARGE - 20) for n in range(5)]
        pool.submit(_drop_kept).result()
        assert pool.submit(_kept_sums).result() == []


def test_a_retried_task_gets_its_argument_as_it_was(pool: owngil.Pool, tmp_path: Any) -> None:
    retrying = pool.options(retries=2)
    future = retrying.submit(_spoil_and_die_once, numpy.zeros(LARGE), tmp_path / "died")
    assert future.result() == LARGE


def _spoil_and_die_once(values: Any, mark: Any) -> float:
    values += 1
    if not mark.exists():
        mark.touch()
        tasks.end_by_signal()
    return float(values.sum())


def test_map_takes_and_returns_large_buffers(pool: owngil.Pool) -> None:
    arrays = [numpy.full(LARGE + n, n) for n in range(12)]
    for chunksize in (None, 1, 5):
        backs = list(pool.map(_add_one_and_return, arrays, chunksize=chunksize))
        assert all((back == values + 1).all() for back, values in zip(backs, arrays, strict=True))


def _add_one_and_return(values: Any) -> Any:
    values += 1
    return values


def test_a_map_that_is_closed_early_gives_its_buffers_back(pool: owngil.Pool) -> None:
    for _ in range(3):
        results = pool.map(tasks.echo, [numpy.zeros(LARGE) for _ in range(30)])
        next(results)
        results.close()
    assert (pool.submit(tasks.echo, numpy.ones(LARGE)).result() == 1).all()


def test_results_are_the_users_own_and_writable(pool: owngil.Pool) -> None:
    first = pool.submit(numpy.arange, LARGE).result()
    first += 1
    others = [pool.submit(numpy.zeros, LARGE).result() for _ in range(10)]
    assert (first == numpy.arange(1, LARGE + 1)).all()
    assert not any(other.any() for other in others)


def test_results_stay_valid_when_worker_and_pool_are_gone() -> None:
    with owngil.Pool(1, max_tasks_per_child=1) as pool:
        results = [pool.submit(numpy.full, LARGE, n).result() for n in range(20)]
        results[3] += 1000
    gc.collect()
    for n, result in enumerate(results):
        assert (result == (1003 if n == 3 else n)).all()


def test_results_stay_valid_when_their_worker_is_killed(pool: owngil.Pool) -> None:
    results = [pool.submit(numpy.full, LARGE, n).result() for n in range(4)]
    dying = [pool.submit(tasks.end_by_signal) for _ in range(4)]
    assert all(isinstance(future.exception(), owngil.WorkerDied) for future in dying)
    assert [int(result.sum()) for result in results] == [n * LARGE for n in range(4)]


def test_a_result_that_nobody_asks_for_gives_its_memory_back() -> None:
    with owngil.Pool(1) as pool:
        for _ in range(100):
            pool.submit(numpy.zeros, 1_000_000)
        pool.submit(int).result()
        assert pool.submit(_arena_bytes, "owngil-results").result() < 400_000_000
        for _ in range(50):
            pool.submit(numpy.zeros, 1_000_000).result()
        before = pool.submit(_arena_bytes, "owngil-results").result()
        for _ in range(100):
            pool.submit(numpy.zeros, 1_000_000).result()
        assert pool.submit(_arena_bytes, "owngil-results").result() == before


def _arena_bytes(name: str) -> int:
    """What the only one of them holds."""
    (held,) = arenas.held(name).values()
    return held


@contextmanager
def lone_pool(workers: int) -> Iterator[owngil.Pool]:
    """A pool, once nothing is left of any other."""
    gc.collect()
    wait_until(lambda: not arenas.held("owngil-arguments"))
    with owngil.Pool(workers) as pool:
        yield pool


def test_the_arena_of_arguments_does_not_grow_with_the_number_of_tasks() -> None:
    with lone_pool(2) as pool:
        for n in range(30):
            pool.submit(_add_one, numpy.zeros(LARGE + n)).result()
        before = _arena_bytes("owngil-arguments")
        for n in range(200):
            pool.submit(_add_one, numpy.zeros(LARGE + n % 30)).result()
        assert _arena_bytes("owngil-arguments") == before


# CPython 3.15 warns of every fork beside threads, and pools have some.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_fork_keeps_the_results_as_they_were(pool: owngil.Pool) -> None:
    result = pool.submit(numpy.full, LARGE, 7).result()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(writing)
            os.read(reading, 1)  # until the parent has let go and the worker has had its chance
            os._exit(0 if (result == 7).all() else 1)
        finally:
            os._exit(2)
    os.close(reading)
    del result
    for n in range(20):
        pool.submit(numpy.full, LARGE, n).result()
    os.close(writing)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_task_that_forks_has_arrays_as_any_process_has(pool: owngil.Pool) -> None:
    for _ in range(5):
        assert pool.submit(_fork_and_write, numpy.zeros(LARGE)).result() == (0, 2)


def _fork_and_write(values: Any) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reading, 1)
        values += 5
        os._exit(0 if (values == 5).all() else 1)
    values += 2
    os.write(writing, b"x")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, int(values[0])


@pytest.mark.parametrize(
    "values",
    [
        numpy.zeros((0, 5)),
        numpy.arange(40_000.0).reshape(200, 200)[::2, ::3],
        numpy.asfortranarray(numpy.arange(40_000.0).reshape(200, 200)),
        numpy.array([(1, 2.5, b"x")] * 20_000, dtype="i4,f8,S3"),
        numpy.array([{"a": 1}, None, [2]] * 20_000, dtype=object),
        numpy.arange(40_000).astype("datetime64[s]"),
        numpy.ma.masked_array(numpy.arange(40_000), numpy.arange(40_000) % 2 == 0),
        numpy.arange(40_000.0).view(numpy.recarray),
        numpy.broadcast_to(numpy.arange(400.0), (400, 400)),
    ],
    ids=["empty", "strided", "fortran", "structured", "object", "dates", "masked", "rec", "cast"],
)
def test_arrays_of_every_kind_make_the_round_trip(pool: owngil.Pool, values: Any) -> None:
    back = pool.submit(tasks.echo, values).result()
    assert type(back) is type(values)
    assert (back.dtype, back.shape) == (values.dtype, values.shape)
    assert back.tolist() == values.tolist()


def test_a_read_only_array_arrives_read_only(pool: owngil.Pool) -> None:
    values = numpy.zeros(LARGE)
    values.flags.writeable = False
    assert pool.submit(_is_writable, values).result() is False


def _is_writable(values: Any) -> bool:
    return bool(values.flags.writeable)


def test_a_by_value_class_travels_with_its_buffers(pool: owngil.Pool) -> None:
    class Local:
        def __init__(self, data: Any) -> None:
            self.data = data

    back = pool.submit(lambda one: Local(one.data + 1), Local(numpy.zeros(LARGE))).result()
    assert (back.data == 1).all()


def test_a_buffer_for_which_there_is_no_memory_names_its_size(pool: owngil.Pool) -> None:
    with mmap.mmap(-1, 100 << 30, flags=mmap.MAP_PRIVATE | MAP_NORESERVE) as huge:
        future = pool.submit(len, memoryview(huge))
        with pytest.raises(MemoryError, match=str(100 << 30)):
            future.result()
    assert pool.submit(len, bytes(LARGE)).result() == LARGE


def test_an_exception_that_carries_an_array_keeps_it(pool: owngil.Pool) -> None:
    error = pool.submit(tasks.fail, ValueError, numpy.ones(LARGE)).exception()
    assert isinstance(error, ValueError)
    assert error.args[0].sum() == LARGE


def test_a_pool_gives_back_what_no_argument_has_needed_for_a_while() -> None:
    with lone_pool(1) as pool:
        assert pool.submit(len, bytearray(200_000_000)).result() == 200_000_000
        assert _arena_bytes("owngil-arguments") >= 200_000_000
        wait_until(lambda: _arena_bytes("owngil-arguments") <= 70 << 20)
        assert pool.submit(sum, numpy.ones(10_000_000)).result() == 10_000_000  # as before


def test_a_worker_that_is_idle_gives_back_what_is_let_go_of_later() -> None:
    with lone_pool(1) as pool:
        pool.submit(_keep, numpy.zeros(1_000_000)).result()
        pool.submit(_drop_kept).result()
        before = _arena_bytes("owngil-arguments")
        for _ in range(10):
            pool.submit(numpy.sum, numpy.zeros(1_000_000)).result()
        wait_until(lambda: _arena_bytes("owngil-arguments") == before)

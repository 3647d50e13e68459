# SPDX-License-Identifier: BSD-3-Clause
"""Data that is shared with the tasks of a pool: put once, read by all, written by none."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest
import tasks

import owngil
from harness import arenas

numpy = pytest.importorskip("numpy")

pytestmark = pytest.mark.kinds("process", "auto")  # NumPy refuses to load in interpreters

LARGE = 200_000


def arena_use(name: str) -> int:
    """Bytes that this process's arenas of that name hold."""
    return sum(arenas.held(name).values())


def test_a_task_finds_what_was_shared_read_only(pool: owngil.Pool) -> None:
    with pool.share(numpy.arange(LARGE)) as shared:
        assert shared.nbytes == 8 * LARGE
        for _ in range(4):
            assert pool.submit(_sum_and_try_to_write, shared).result() == (
                sum(range(LARGE)),
                "assignment destination is read-only",
            )


def _sum_and_try_to_write(values: Any) -> tuple[int, str]:
    try:
        values[0] = 1
    except ValueError as error:
        return int(values.sum()), str(error)
    return 0, "written"


def test_what_is_shared_is_put_once(pool: owngil.Pool) -> None:
    with pool.share(numpy.ones(4 * LARGE)) as shared:
        before = arena_use("owngil-")
        sums = [pool.submit(numpy.sum, shared) for _ in range(50)]
        sums += [pool.submit(_sum_of_all, {"deep": [shared, shared]}) for _ in range(50)]
        assert {float(one.result()) for one in sums[:50]} == {4 * LARGE}
        assert {float(one.result()) for one in sums[50:]} == {8 * LARGE}
        assert list(pool.map(_total, [shared] * 20)) == [4 * LARGE] * 20
        assert arena_use("owngil-") < before + 8 * LARGE


def _total(values: Any) -> float:
    return float(values.sum())


def _sum_of_all(value: dict[str, list[Any]]) -> float:
    assert value["deep"][0] is value["deep"][1]
    return sum(float(one.sum()) for one in value["deep"])


def test_changing_the_original_does_not_change_what_was_shared(pool: owngil.Pool) -> None:
    values = numpy.zeros(LARGE)
    with pool.share(values) as shared:
        values[:] = 5
        assert pool.submit(_total, shared).result() == 0


def test_any_object_can_be_shared(pool: owngil.Pool) -> None:
    value = {"name": "x", "small": numpy.arange(3), "large": [numpy.ones(LARGE)], "raw": b"ab"}
    with pool.share(value) as shared:
        back = pool.submit(tasks.echo, shared).result()
    assert (back["name"], back["raw"], back["small"].tolist()) == ("x", b"ab", [0, 1, 2])
    assert back["large"][0].sum() == LARGE


@pytest.mark.parametrize("value", [bytes(LARGE), bytearray(LARGE), memoryview(bytes(LARGE))])
def test_what_is_nothing_but_bytes_can_be_shared(pool: owngil.Pool, value: Any) -> None:
    with pool.share(value) as shared:
        assert shared.nbytes == LARGE
        assert pool.submit(_type_and_bytes, shared).result() == (type(value).__name__, bytes(value))


def _type_and_bytes(value: Any) -> tuple[str, bytes]:
    return type(value).__name__, bytes(value)


def test_a_task_that_was_submitted_before_it_was_closed_still_has_it(pool: owngil.Pool) -> None:
    shared = pool.share(numpy.ones(LARGE))
    sums = [pool.submit(_total, shared) for _ in range(40)]
    shared.close()
    others = [pool.submit(_total, numpy.full(LARGE, 7.0)) for _ in range(10)]
    assert [one.result() for one in sums] == [LARGE] * 40
    assert [one.result() for one in others] == [7 * LARGE] * 10


def test_what_is_closed_says_so(pool: owngil.Pool) -> None:
    with pool.share(numpy.ones(LARGE)) as shared:
        pass
    with pytest.raises(ValueError, match="was closed"):
        pool.submit(_total, shared).result()
    assert repr(shared) == "<owngil.Shared: closed>"


@pytest.mark.parametrize("how", ["with", "close", "garbage"])
def test_memory_is_used_again_once_it_is_freed(pool: owngil.Pool, how: str) -> None:
    sizes = []
    for _ in range(10):
        shared = pool.share(numpy.ones(10 * LARGE))
        assert pool.submit(_total, shared).result() == 10 * LARGE
        if how == "with":
            with shared:
                pass
        elif how == "close":
            shared.close()
        del shared
        gc.collect()
        sizes.append(arena_use("owngil-"))
    assert sizes[-1] == sizes[2]


def test_another_pool_gets_no_copy_of_its_own(pool: owngil.Pool) -> None:
    with owngil.Pool(1) as other, pool.share(numpy.ones(LARGE)) as shared:
        assert other.submit(_total, numpy.ones(LARGE)).result() == LARGE
        before = arena_use("owngil-")
        for one in (other, pool):
            assert one.submit(_total, shared).result() == LARGE
            assert one.submit(_place, shared).result() == _place(shared._buffers[0])
        assert arena_use("owngil-") < before + 8 * LARGE


def _place(buffer: Any) -> tuple[int, int]:
    """The inode of the file that the memory of a buffer is mapped from, and where in it."""
    address = numpy.frombuffer(buffer, "u1").ctypes.data
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, _, offset, _, inode, *_ = line.split()
            begin, end = (int(one, 16) for one in span.split("-"))
            if begin <= address < end:
                return int(inode), int(offset, 16) + address - begin
    raise LookupError(hex(address))


def test_what_is_shared_may_outlive_its_pool() -> None:
    with owngil.Pool(1) as pool:
        shared = pool.share(numpy.ones(LARGE))
    with owngil.Pool(1) as other:
        assert other.submit(_total, shared).result() == LARGE
    shared.close()


def test_a_killed_worker_does_not_keep_what_was_shared(pool: owngil.Pool) -> None:
    with pool.share(numpy.ones(LARGE)) as shared:
        dying = pool.options(retries=0).submit(_die_with, shared)
        assert isinstance(dying.exception(), owngil.WorkerDied)
        assert pool.submit(_total, shared).result() == LARGE


def _die_with(values: Any) -> None:
    assert values.sum() == LARGE
    tasks.end_by_signal()


MAKERS = [owngil.empty, owngil.zeros]


@pytest.mark.parametrize("make", MAKERS)
def test_an_array_that_is_made_in_shared_memory_is_an_array_like_any(make: Any) -> None:
    array = make((300, 500), "int32")
    assert (array.shape, array.dtype) == ((300, 500), numpy.dtype("int32"))
    array[:] = 7
    array[3] += 1
    assert array.sum() == 300 * 500 * 7 + 500
    assert make(5).dtype == float
    assert make((3, 0)).shape == (3, 0)
    assert make((), "i2").shape == ()


def test_zeros_are_zeros_where_something_else_was() -> None:
    for _ in range(3):
        owngil.empty(LARGE).fill(3)
        assert not owngil.zeros(LARGE).any()
        assert not any(owngil.buffer(LARGE))


def test_what_cannot_lie_in_shared_memory_is_refused() -> None:
    with pytest.raises(TypeError, match="references"):
        owngil.empty(10, object)
    with pytest.raises(ValueError, match="negative"):
        owngil.zeros((3, -1))
    with pytest.raises(ValueError, match="nbytes"):
        owngil.buffer(-1)
    with pytest.raises(MemoryError, match=str(1 << 50)):
        owngil.buffer(1 << 50)


def test_what_was_made_in_place_is_shared_where_it_lies(pool: owngil.Pool) -> None:
    array = owngil.empty((4, LARGE))
    array[:] = numpy.arange(4)[:, None]
    before = arena_use("owngil-shared")
    with pool.share(array) as shared, pool.share(array[2]) as row:
        assert arena_use("owngil-shared") == before
        assert pool.submit(_place, shared).result() == _place(array)
        assert pool.submit(_place, row).result() == _place(array[2])
        assert pool.submit(_total, shared).result() == 6 * LARGE
        assert pool.submit(_total, row).result() == 2 * LARGE
        with pytest.raises(ValueError, match="read-only"):
            pool.submit(_write, row).result()


def _write(values: Any) -> None:
    values[0] = 1


def test_what_is_written_after_it_was_shared_is_the_users_own(pool: owngil.Pool) -> None:
    array = owngil.zeros(LARGE)
    with pool.share(array) as shared:
        array += 1
        assert array.sum() == LARGE
        assert pool.submit(_total, shared).result() == 0
        assert pool.submit(_total, array).result() == LARGE
        with pool.share(array) as again:  # what tasks see of it is not what the user sees: a copy
            assert pool.submit(_total, again).result() == LARGE
            assert pool.submit(_total, shared).result() == 0


def test_one_part_may_be_shared_while_another_is_written(pool: owngil.Pool) -> None:
    array = owngil.zeros((6, LARGE))
    handles = []
    for n in range(6):
        array[n] = n
        handles.append(pool.share(array[n]))
    assert [pool.submit(_total, one).result() for one in handles] == [n * LARGE for n in range(6)]


def test_memory_that_was_frozen_is_writable_for_the_next(pool: owngil.Pool) -> None:
    for n in range(10):
        array = owngil.empty(10 * LARGE)
        array[:] = n
        with pool.share(array) as shared:
            array[:] = -1
            assert pool.submit(_total, shared).result() == n * 10 * LARGE
        del array
        if n == 2:
            before = arena_use("owngil-shared")
    assert arena_use("owngil-shared") == before


def test_a_buffer_is_shared_where_it_lies(pool: owngil.Pool) -> None:
    data = owngil.buffer(LARGE)
    data[:5] = b"abcde"
    with pool.share(data) as shared:
        assert pool.submit(_place, shared).result() == _place(data)
        assert pool.submit(_type_and_bytes, shared).result() == ("memoryview", bytes(data))
        with pytest.raises(TypeError, match="read-only"):
            pool.submit(_write, shared).result()


def test_an_array_that_was_made_in_place_is_an_argument_like_any(pool: owngil.Pool) -> None:
    array = owngil.zeros(LARGE)
    sums = []
    for n in range(5):
        array[:] = n
        sums.append(pool.submit(_total, array))
    assert [one.result() for one in sums] == [n * LARGE for n in range(5)]


def test_a_result_is_shared_where_it_lies_with_the_workers_of_any_pool(pool: owngil.Pool) -> None:
    pool.submit(numpy.ones, LARGE).result()  # from now on arrays lie in the arena from the start
    result = pool.submit(numpy.full, 4 * LARGE, 3.0).result()
    before = arena_use("owngil-")
    with owngil.Pool(1) as other, pool.share(result) as shared, pool.share(result[LARGE:]) as tail:
        result[:] = 9  # the user's own
        for one in (pool, other):
            assert one.submit(_total, shared).result() == 12 * LARGE
            assert one.submit(_total, tail).result() == 9 * LARGE
            assert one.submit(_place, shared).result()[0] == _place(shared._buffers[0])[0]
        assert arena_use("owngil-shared") + arena_use("owngil-results") <= before
        del result
        assert other.submit(_total, shared).result() == 12 * LARGE


def test_a_result_that_the_user_has_written_to_is_shared_as_the_user_sees_it(
    pool: owngil.Pool,
) -> None:
    result = pool.submit(numpy.zeros, LARGE).result()
    result[LARGE // 2] = 1
    with pool.share(result) as shared:
        assert pool.submit(_total, shared).result() == 1


def test_a_shared_result_outlives_its_worker_and_its_pool() -> None:
    with owngil.Pool(1, max_tasks_per_child=2) as pool:
        shared = [pool.share(pool.submit(numpy.full, LARGE, n).result()) for n in range(6)]
        assert [pool.submit(_total, one).result() for one in shared] == [
            n * LARGE for n in range(6)
        ]
    gc.collect()
    with owngil.Pool(2) as other:
        assert [other.submit(_total, one).result() for one in shared] == [
            n * LARGE for n in range(6)
        ]
        del shared
        gc.collect()
    assert arena_use("owngil-results") == 0


def test_a_worker_that_is_given_many_shared_things_does_not_keep_them_all_mapped() -> None:
    with owngil.Pool(1) as pool:
        for n in range(200):
            with pool.share(numpy.full(LARGE, n)) as shared:
                assert pool.submit(_total, shared).result() == n * LARGE
        assert pool.submit(_mapped_shared).result() < 100


def _mapped_shared() -> int:
    with open("/proc/self/maps") as maps:
        return sum("owngil-shared" in line for line in maps)


def test_a_task_can_make_and_share_for_a_pool_of_its_own(pool: owngil.Pool) -> None:
    assert pool.submit(_nested).result() == 3 * LARGE


def _nested() -> float:
    array = owngil.empty(LARGE)
    array[:] = 3
    with owngil.Pool(1) as own, own.share(array) as shared:
        return own.submit(_total, shared).result()


# CPython 3.15 warns of every fork beside threads, and pools have some.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_fork_makes_shared_memory_of_its_own(pool: owngil.Pool) -> None:
    mine = owngil.zeros(LARGE)
    with pool.share(mine) as shared:
        pid = os.fork()
        if pid == 0:
            own = owngil.empty(LARGE)
            own[:] = 5
            os._exit(0 if own.sum() == 5 * LARGE and mine.sum() == 0 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert mine.sum() == 0
        assert pool.submit(_total, shared).result() == 0


def test_another_executor_gets_what_was_shared_as_a_copy(pool: owngil.Pool) -> None:
    import pickle

    array = owngil.zeros(LARGE)
    with pool.share(array) as shared:
        array += 1
        for protocol in (4, 5):
            assert pickle.loads(pickle.dumps(shared, protocol)).sum() == 0

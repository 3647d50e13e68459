# SPDX-License-Identifier: BSD-3-Clause
"""Data that is shared with the tasks of a pool: put once, read by all, written by none."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest
import tasks

import owngil

numpy = pytest.importorskip("numpy")

pytestmark = pytest.mark.kinds("process")  # NumPy refuses to load in interpreters

LARGE = 200_000


def arena_use(pool: owngil.Pool) -> int:
    """Bytes that the pool's argument arena holds after buffers of so many sizes were sent."""
    for fd in os.listdir("/proc/self/fd"):
        try:
            if "owngil-arguments" in os.readlink(f"/proc/self/fd/{fd}"):
                return os.stat(int(fd)).st_blocks * 512
        except OSError:
            continue
    raise LookupError(pool)


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
        before = arena_use(pool)
        sums = [pool.submit(numpy.sum, shared) for _ in range(50)]
        sums += [pool.submit(_sum_of_all, {"deep": [shared, shared]}) for _ in range(50)]
        assert {float(one.result()) for one in sums[:50]} == {4 * LARGE}
        assert {float(one.result()) for one in sums[50:]} == {8 * LARGE}
        assert list(pool.map(_total, [shared] * 20)) == [4 * LARGE] * 20
        assert arena_use(pool) == before


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
        sizes.append(arena_use(pool))
    assert sizes[-1] == sizes[2]


def test_another_pool_gets_a_copy(pool: owngil.Pool) -> None:
    with owngil.Pool(1) as other, pool.share(numpy.ones(LARGE)) as shared:
        assert other.submit(_total, shared).result() == LARGE
        assert pool.submit(_total, shared).result() == LARGE


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

# SPDX-License-Identifier: BSD-3-Clause
"""A task may have a pool of its own."""

from __future__ import annotations

import os

import pytest
import tasks

import owngil
from harness import processes
from harness.conditions import wait_until
from harness.starts import pids_of


def test_a_pool_inside_a_worker_works(pool: owngil.Pool) -> None:
    assert pool.submit(_sum_in_a_pool, 20).result() == sum(range(1, 21))


def test_pools_inside_all_workers_at_once_work(pool: owngil.Pool) -> None:
    assert list(pool.map(_sum_in_a_pool, [3, 4, 5, 6], chunksize=1)) == [6, 10, 15, 21]


def test_three_pools_inside_each_other_work(pool: owngil.Pool) -> None:
    assert pool.submit(_two_deeper).result() == 6


def test_a_local_function_goes_down_all_the_way(pool: owngil.Pool) -> None:
    factor = 7

    def inner(number: int) -> int:
        return number * factor

    def outer(count: int) -> list[int]:
        with owngil.Pool(1) as inside:
            return list(inside.map(inner, range(count)))

    assert pool.submit(outer, 4).result() == [0, 7, 14, 21]


def test_an_exception_comes_up_all_the_way(pool: owngil.Pool) -> None:
    with pytest.raises(KeyError, match="deep"):
        pool.submit(_fail_in_a_pool).result()


def test_a_task_inside_knows_where_it_is(pool: owngil.Pool) -> None:
    outer, inner = pool.submit(_names).result()
    assert (outer, inner) != (None, None)
    assert inner == "inside"


def test_a_worker_that_dies_takes_its_own_pool_with_it(pool: owngil.Pool) -> None:
    with pytest.raises(owngil.WorkerDied):
        pool.submit(_die_with_a_pool).result()
    assert pool.submit(tasks.echo, 1).result() == 1


def test_the_pool_that_a_dead_worker_had_leaves_no_processes() -> None:
    with owngil.Pool(1) as pool:
        pids = pool.submit(_pids_of_a_pool_left_open).result()
        assert len(pids) == 2
        with pytest.raises(owngil.WorkerDied):
            pool.submit(tasks.end_by_signal).result()
        wait_until(lambda: not any(map(processes.read, pids)), f"{pids} have ended")


def test_a_pool_that_a_task_leaves_open_ends_with_its_worker() -> None:
    with owngil.Pool(1) as pool:
        pids = pool.submit(_pids_of_a_pool_left_open).result()
    wait_until(lambda: not any(map(processes.read, pids)), f"{pids} have ended")


def test_the_users_pool_does_not_travel_into_a_task(pool: owngil.Pool) -> None:
    """A pool belongs to its process; it says so instead of hanging."""
    error = pool.submit(tasks.echo, pool).exception()
    assert error is not None
    assert "pickle" in str(error) or "Pool" in str(error)


def _sum_in_a_pool(count: int) -> int:
    with owngil.Pool(2) as inside:
        return sum(inside.map(tasks.add, range(count)))


def _two_deeper() -> int:
    with owngil.Pool(1) as inside:
        return inside.submit(_sum_in_a_pool, 3).result()


def _fail_in_a_pool() -> None:
    with owngil.Pool(1) as inside:
        inside.submit(tasks.fail, KeyError, "deep").result()


def _name() -> str | None:
    worker = owngil.worker()
    return worker and worker.pool


def _names() -> tuple[str | None, str | None]:
    with owngil.Pool(1, name="inside") as inside:
        return _name(), inside.submit(_name).result()


def _die_with_a_pool() -> None:
    inside = owngil.Pool(1)
    inside.submit(tasks.echo, 1).result()
    os._exit(1)


_left_open: list[owngil.Pool] = []


def _pids_of_a_pool_left_open() -> list[int]:
    inside = owngil.Pool(2)
    _left_open.append(inside)
    list(inside.map(tasks.echo, range(2), chunksize=1))
    return pids_of(inside)

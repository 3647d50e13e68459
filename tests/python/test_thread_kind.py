# SPDX-License-Identifier: BSD-3-Clause
"""kind="thread": the single-GIL baseline has the same face."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import tasks

import owngil
from harness.conditions import wait_until


@pytest.fixture
def pool() -> Iterator[owngil.Pool]:
    with owngil.Pool(2, kind="thread", name="baseline") as pool:
        yield pool


def test_it_is_a_pool_and_an_executor(pool: owngil.Pool) -> None:
    assert isinstance(pool, owngil.Pool)
    assert isinstance(pool, concurrent.futures.Executor)
    assert pool._max_workers == 2


def test_tasks_run_in_threads_of_this_process(pool: owngil.Pool) -> None:
    assert pool.submit(os.getpid).result() == os.getpid()
    assert pool.submit(threading.get_ident).result() != threading.get_ident()


def test_results_and_exceptions_come_back(pool: owngil.Pool) -> None:
    lock = threading.Lock()
    assert pool.submit(tasks.echo, lock).result() is lock
    with pytest.raises(KeyError):
        pool.submit(tasks.fail, KeyError).result()


def test_map_keeps_the_order_and_is_lazy_when_asked(pool: owngil.Pool) -> None:
    assert list(pool.map(tasks.add, range(50), chunksize=7)) == list(range(1, 51))
    lazy = pool.map(tasks.echo, itertools.count(), buffersize=3)
    assert list(itertools.islice(lazy, 10)) == list(range(10))


def test_worker_says_where_the_task_runs(pool: owngil.Pool) -> None:
    worker: Any = pool.submit(owngil.worker).result()
    assert worker.kind == "thread"
    assert worker.pool == "baseline"
    assert worker.rank in (0, 1)
    assert worker.pid == os.getpid()
    assert owngil.worker() is None


def test_stats_count_what_was_done(pool: owngil.Pool) -> None:
    for number in range(10):
        pool.submit(tasks.echo, number).result()
    stats = pool.stats()
    assert sum(worker.tasks_done for worker in stats.workers) == 10
    assert (stats.pending, stats.running) == (0, 0)


def test_the_initializer_runs_in_each_thread() -> None:
    seen = []
    with owngil.Pool(1, kind="thread", initializer=seen.append, initargs=(1,)) as pool:
        pool.submit(tasks.echo, 1).result()
    assert seen == [1]


def test_asyncio_takes_it(pool: owngil.Pool) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, tasks.add, 1, 2)

    assert asyncio.run(main()) == 3


def test_it_can_become_larger(pool: owngil.Pool) -> None:
    barrier = threading.Barrier(4)
    futures = [pool.submit(barrier.wait, 30) for _ in range(4)]
    pool.resize(4)
    assert sorted(future.result() for future in futures) == [0, 1, 2, 3]
    assert len(pool.stats().workers) == pool._max_workers == 4


def test_it_can_become_smaller(pool: owngil.Pool) -> None:
    go_on = threading.Event()
    held = [pool.submit(go_on.wait, 30) for _ in range(2)]
    wait_until(lambda: pool.stats().running == 2)
    pool.resize(1)
    ranks = [pool.submit(_rank_while_no_other, pool) for _ in range(10)]
    go_on.set()
    assert all(future.result() for future in held)
    assert {future.result() for future in ranks} == {(0, 1)}


def test_after_shutdown_it_cannot_be_resized(pool: owngil.Pool) -> None:
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.resize(3)


@pytest.mark.parametrize("size", [0, "2"])
def test_a_size_that_is_none_is_refused(pool: owngil.Pool, size: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_workers"):
        pool.resize(size)


def test_submit_after_shutdown_is_refused(pool: owngil.Pool) -> None:
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(tasks.echo, 1)


def test_shutdown_with_cancel_futures_cancels_what_waits(pool: owngil.Pool) -> None:
    go_on = threading.Event()
    held = [pool.submit(go_on.wait) for _ in range(2)]
    waiting = [pool.submit(tasks.echo, number) for number in range(10)]
    pool.shutdown(wait=False, cancel_futures=True)
    go_on.set()
    assert all(future.result() for future in held)
    assert all(future.cancelled() for future in waiting)
    pool.shutdown()


def test_a_subclass_of_the_users_runs_on_threads_too() -> None:
    class Mine(owngil.Pool):
        def twice(self, number: int) -> int:
            return self.submit(lambda: 2 * number).result()

    with Mine(1, kind="thread") as pool:
        assert isinstance(pool, Mine)
        assert pool.submit(os.getpid).result() == os.getpid()
        assert pool.twice(4) == 8


def _rank_while_no_other(pool: owngil.Pool) -> tuple[int, int]:
    worker = owngil.worker()
    assert worker is not None
    return worker.rank, pool.stats().running


def test_a_pool_that_has_done_its_work_goes_with_the_last_who_holds_it() -> None:
    gc.collect()
    gc.disable()
    try:
        with owngil.Pool(2, kind="thread") as pool:
            assert list(pool.map(lambda n: n + 1, range(9))) == list(range(1, 10))
        gone = weakref.ref(pool)
        del pool
        assert gone() is None
    finally:
        gc.enable()

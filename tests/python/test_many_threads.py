# SPDX-License-Identifier: BSD-3-Clause
"""Any number of user threads may submit, wait and cancel at once."""

from __future__ import annotations

import concurrent.futures
import random
import threading
from collections.abc import Callable

import tasks

import owngil


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run work(n) in so many threads that start at once; raise what any of them raised."""
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        work(number)

    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        for future in [threads.submit(run, number) for number in range(count)]:
            future.result()


def test_threads_submit_and_wait_one_by_one(pool: owngil.Pool) -> None:
    def work(which: int) -> None:
        for number in range(300):
            assert pool.submit(tasks.add, which * 1000, number).result() == which * 1000 + number

    in_threads(8, work)


def test_threads_submit_in_bulk_and_collect(pool: owngil.Pool) -> None:
    def work(which: int) -> None:
        futures = [pool.submit(tasks.add, which, number) for number in range(1000)]
        assert [future.result() for future in futures] == [which + n for n in range(1000)]

    in_threads(6, work)


def test_threads_cancel_at_random(pool: owngil.Pool) -> None:
    def work(which: int) -> None:
        choose = random.Random(which)
        for _ in range(20):
            futures = [pool.submit(tasks.echo, number) for number in range(50)]
            cancelled = {n for n in choose.sample(range(50), 25) if futures[n].cancel()}
            for number, future in enumerate(futures):
                if number in cancelled:
                    assert future.cancelled()
                else:
                    assert future.result() == number

    in_threads(6, work)


def test_many_threads_wait_for_one_future(pool: owngil.Pool) -> None:
    for _ in range(20):
        future = pool.submit(tasks.count_to, 100_000)
        in_threads(8, lambda _, future=future: _check_sum(future))  # type: ignore[misc]


def test_threads_map_at_once(pool: owngil.Pool) -> None:
    def work(which: int) -> None:
        for _ in range(3):
            assert list(pool.map(tasks.add, range(500))) == list(range(1, 501))

    in_threads(6, work)


def test_one_thread_waits_while_another_submits(pool: owngil.Pool) -> None:
    """Results that one thread collects for another one reach it."""
    handed: list[concurrent.futures.Future[int]] = []
    more = threading.Condition()

    def work(which: int) -> None:
        if which == 0:
            for number in range(2000):
                future = pool.submit(tasks.echo, number)
                with more:
                    handed.append(future)
                    more.notify()
        else:
            for number in range(2000):
                with more:
                    more.wait_for(lambda number=number: len(handed) > number)  # type: ignore[misc]
                assert handed[number].result() == number

    in_threads(2, work)


def test_some_wait_some_poll_some_have_callbacks(pool: owngil.Pool) -> None:
    def work(which: int) -> None:
        for number in range(100):
            future = pool.submit(tasks.add, which, number)
            if which % 4 == 0:
                assert future.result() == which + number
            elif which % 4 == 1:
                while not future.done():
                    pass
            elif which % 4 == 2:
                ended = threading.Event()
                future.add_done_callback(lambda _, ended=ended: ended.set())  # type: ignore[misc]
                assert ended.wait(30)
            else:
                concurrent.futures.wait([future])
            assert future.result(timeout=0) == which + number

    in_threads(8, work)


def test_threads_make_and_close_pools_at_once() -> None:
    def work(which: int) -> None:
        for _ in range(5):
            with owngil.Pool(2) as pool:
                assert list(pool.map(tasks.add, range(20))) == list(range(1, 21))

    in_threads(4, work)


def test_threads_go_on_while_workers_die(pool: owngil.Pool) -> None:
    again = pool.options(retries=1)  # for who shares a process with what ends it

    def work(which: int) -> None:
        for number in range(30):
            if number % 10 == which % 10:
                error = pool.submit(tasks.end_by_exit_code, 1).exception()
                assert isinstance(error, owngil.WorkerDied)
            else:
                assert again.submit(tasks.echo, number).result() == number

    in_threads(4, work)


def test_shutdown_while_threads_submit_refuses_and_loses_nothing() -> None:
    for _ in range(5):
        pool = owngil.Pool(2)
        accepted: list[concurrent.futures.Future[int]] = []

        def work(
            which: int,
            pool: owngil.Pool = pool,
            accepted: list[concurrent.futures.Future[int]] = accepted,
        ) -> None:
            if which == 0:
                while len(accepted) < 100:
                    pass
                pool.shutdown()
                return
            try:
                while True:
                    accepted.append(pool.submit(tasks.echo, which))
            except RuntimeError as error:
                if "after shutdown" not in str(error):
                    raise

        in_threads(4, work)
        assert all(future.result() in (1, 2, 3) for future in accepted)


def _check_sum(future: concurrent.futures.Future[int]) -> None:
    assert future.result() == sum(range(100_000))

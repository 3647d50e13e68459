# SPDX-License-Identifier: BSD-3-Clause
"""Done-callbacks: they run with nobody waiting, and whatever they do delays nothing else."""

from __future__ import annotations

import concurrent.futures
import logging
import queue
import threading
from typing import Any

import pytest
import tasks

import owngil
from harness.conditions import wait_until
from harness.gate import Gate

PATIENCE_S = 30


def test_a_callback_runs_with_nobody_waiting(pool: owngil.Pool) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    future = pool.submit(tasks.echo, 5)
    future.add_done_callback(seen.put)
    assert seen.get(timeout=PATIENCE_S) is future
    assert future.result(timeout=0) == 5


def test_with_nobody_waiting_queued_tasks_keep_flowing(pool: owngil.Pool) -> None:
    """More tasks than the rings can hold, and only the last of them has a callback."""
    ended = threading.Event()
    futures = [pool.submit(tasks.echo, number) for number in range(20_000)]
    futures[-1].add_done_callback(lambda _: ended.set())
    assert ended.wait(PATIENCE_S)


def test_each_of_many_callbacks_runs_once(pool: owngil.Pool) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    for number in range(500):
        pool.submit(tasks.echo, number).add_done_callback(lambda f: seen.put(f.result()))
    assert sorted(seen.get(timeout=PATIENCE_S) for _ in range(500)) == list(range(500))
    assert seen.empty()


def test_the_callbacks_of_one_future_run_in_the_order_of_their_adding(pool: owngil.Pool) -> None:
    seen: queue.Queue[int] = queue.Queue()
    future = pool.submit(tasks.echo, 1)
    for number in range(10):
        future.add_done_callback(lambda _, number=number: seen.put(number))  # type: ignore[misc]
    assert [seen.get(timeout=PATIENCE_S) for _ in range(10)] == list(range(10))


def test_a_callback_added_to_a_finished_future_runs_at_once(pool: owngil.Pool) -> None:
    future = pool.submit(tasks.echo, 1)
    future.result()
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    assert seen == [future]


def test_a_callback_that_blocks_delays_no_task(pool: owngil.Pool) -> None:
    go_on = threading.Event()
    blocked = threading.Event()

    def block(_: object) -> None:
        blocked.set()
        go_on.wait()

    pool.submit(tasks.echo, 0).add_done_callback(block)
    assert blocked.wait(PATIENCE_S)
    try:
        futures = [pool.submit(tasks.echo, number) for number in range(5000)]
        assert [future.result(PATIENCE_S) for future in futures] == list(range(5000))
        assert list(pool.map(tasks.echo, range(1000))) == list(range(1000))
    finally:
        go_on.set()


def test_a_callback_that_blocks_delays_no_death(pool: owngil.Pool) -> None:
    go_on = threading.Event()
    blocked = threading.Event()

    def block(_: object) -> None:
        blocked.set()
        go_on.wait()

    pool.submit(tasks.echo, 0).add_done_callback(block)
    assert blocked.wait(PATIENCE_S)
    try:
        with pytest.raises(owngil.WorkerDied):
            pool.submit(tasks.end_by_signal).result(PATIENCE_S)
        assert pool.submit(tasks.echo, 1).result(PATIENCE_S) == 1
    finally:
        go_on.set()


def test_a_callback_may_submit_and_wait_for_more(pool: owngil.Pool) -> None:
    seen: queue.Queue[int] = queue.Queue()

    def go_on(future: concurrent.futures.Future[int]) -> None:
        seen.put(pool.submit(tasks.add, future.result(), 1).result())

    pool.submit(tasks.echo, 1).add_done_callback(go_on)
    assert seen.get(timeout=PATIENCE_S) == 2


def test_a_chain_of_callbacks_may_be_long(pool: owngil.Pool) -> None:
    ended: queue.Queue[int] = queue.Queue()

    def go_on(future: concurrent.futures.Future[int]) -> None:
        number = future.result()
        if number == 300:
            ended.put(number)
        else:
            pool.submit(tasks.add, number, 1).add_done_callback(go_on)

    pool.submit(tasks.echo, 0).add_done_callback(go_on)
    assert ended.get(timeout=PATIENCE_S) == 300


def test_a_callback_may_take_a_lock_that_a_waiting_thread_holds(pool: owngil.Pool) -> None:
    lock = threading.Lock()
    seen: queue.Queue[Any] = queue.Queue()

    def with_lock(future: Any) -> None:
        with lock:
            seen.put(future)

    with lock:
        pool.submit(tasks.echo, 1).add_done_callback(with_lock)
        assert pool.submit(tasks.echo, 2).result(PATIENCE_S) == 2
    assert seen.get(timeout=PATIENCE_S).result() == 1


def test_a_callback_that_raises_is_logged_and_hurts_nobody(
    pool: owngil.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    seen: queue.Queue[Any] = queue.Queue()

    def raise_error(_: object) -> None:
        raise ZeroDivisionError("in a callback")

    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        future = pool.submit(tasks.echo, 1)
        future.add_done_callback(raise_error)
        future.add_done_callback(seen.put)
        assert seen.get(timeout=PATIENCE_S) is future
    assert "in a callback" in caplog.text
    assert pool.submit(tasks.echo, 2).result() == 2


def test_a_cancelled_future_calls_back(pool: owngil.Pool, gate: Gate) -> None:
    for _ in range(2):
        pool.submit(gate.enter)
    gate.wait_for_entered(2)
    future = pool.submit(tasks.echo, 1)
    seen: queue.Queue[Any] = queue.Queue()
    future.add_done_callback(seen.put)
    assert future.cancel()
    assert seen.get(timeout=PATIENCE_S) is future
    gate.open()


def test_a_future_whose_worker_died_calls_back(pool: owngil.Pool) -> None:
    seen: queue.Queue[Any] = queue.Queue()
    pool.submit(tasks.end_by_exit_code, 3).add_done_callback(seen.put)
    assert isinstance(seen.get(timeout=PATIENCE_S).exception(), owngil.WorkerDied)


def test_callbacks_run_also_when_the_pool_is_shut_down() -> None:
    seen: list[Any] = []
    with owngil.Pool(2) as pool:
        for number in range(50):
            pool.submit(tasks.echo, number).add_done_callback(seen.append)
    wait_until(lambda: len(seen) == 50)

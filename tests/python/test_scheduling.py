# SPDX-License-Identifier: BSD-3-Clause
"""Who runs what: properties that need no clock. The figures are the bench's."""

from __future__ import annotations

import collections

import tasks

import owngil
from harness.gate import Gate


def test_short_tasks_never_wait_behind_a_long_one_while_another_worker_is_free(
    pool: owngil.Pool, gate: Gate
) -> None:
    held = pool.submit(gate.enter)
    shorts = [pool.submit(tasks.add, number) for number in range(2000)]
    assert [future.result() for future in shorts] == list(range(1, 2001))
    assert not held.done()
    gate.open()
    held.result()


def test_what_was_sent_ahead_to_a_worker_is_taken_back_when_its_task_is_long(
    pool: owngil.Pool, gate: Gate
) -> None:
    """Short tasks first, so that several are sent ahead; then long ones in between."""
    for _ in range(5):
        list(pool.map(tasks.echo, range(200), chunksize=1))
    futures = [
        pool.submit(gate.enter) if number == 50 else pool.submit(tasks.echo, number)
        for number in range(400)
    ]
    for number, future in enumerate(futures):
        if number != 50:
            assert future.result() == number
    assert not futures[50].done()
    gate.open()
    futures[50].result()


def test_all_workers_are_used_by_tasks_that_take_long(gate: Gate) -> None:
    with owngil.Pool(4) as pool:
        held = [pool.submit(gate.enter) for _ in range(4)]
        assert len({pid for pid, _ in gate.wait_for_entered(4)}) == 4
        gate.open()
        for future in held:
            future.result()


def test_the_items_of_a_map_are_spread_over_all_workers(gate: Gate) -> None:
    with owngil.Pool(3) as pool:
        results = pool.map(_enter_once, [gate] * 30, range(30))
        assert len({pid for pid, _ in gate.wait_for_entered(3)}) == 3
        gate.open()
        assert list(results) == list(range(30))


def test_a_map_does_not_shut_out_single_calls(pool: owngil.Pool, gate: Gate) -> None:
    results = pool.map(_enter_once, [gate] * 2, range(2), chunksize=1)
    gate.wait_for_entered(2)
    calls = [pool.submit(tasks.echo, number) for number in range(10)]
    gate.open()
    assert [call.result() for call in calls] == list(range(10))
    assert list(results) == [0, 1]


def test_a_lone_caller_meets_the_same_worker_again_and_again() -> None:
    with owngil.Pool(4) as pool:
        pids = [pool.submit(tasks.rank_and_pid).result()[1] for _ in range(500)]
    ((_, most),) = collections.Counter(pids).most_common(1)
    assert most > 400


def test_tasks_begin_in_the_order_of_their_submission_on_one_worker() -> None:
    with owngil.Pool(1) as pool:
        pool.submit(_clear).result()
        for future in [pool.submit(_append, number) for number in range(500)]:
            future.result()
        assert pool.submit(_seen).result() == list(range(500))


def test_a_long_backlog_of_mixed_tasks_is_worked_off(pool: owngil.Pool) -> None:
    calls = [pool.submit(tasks.count_to, (number * 37) % 2000) for number in range(3000)]
    assert [call.result() for call in calls] == [
        sum(range((number * 37) % 2000)) for number in range(3000)
    ]


_order: list[int] = []


def _clear() -> None:
    _order.clear()


def _append(number: int) -> None:
    _order.append(number)


def _seen() -> list[int]:
    return _order


def _enter_once(gate: Gate, number: int) -> int:
    gate.enter(number)
    return number

# SPDX-License-Identifier: BSD-3-Clause
"""max_tasks_per_child: a worker ends after so many tasks and another one takes its place."""

from __future__ import annotations

import collections

import pytest
import tasks

import owngil
from harness.gate import Gate


@pytest.mark.parametrize("start", ["template", "spawn"])
def test_a_worker_runs_so_many_tasks_and_no_more(start: str) -> None:
    with owngil.Pool(1, max_tasks_per_child=3, start=start) as pool:
        pids = [pool.submit(tasks.rank_and_pid).result()[1] for _ in range(7)]
    assert pids[0] == pids[1] == pids[2]
    assert pids[3] == pids[4] == pids[5]
    assert len(set(pids)) == 3


def test_a_backlog_is_worked_off_by_one_worker_after_the_other() -> None:
    with owngil.Pool(2, max_tasks_per_child=2) as pool:
        futures = [pool.submit(tasks.rank_and_pid) for _ in range(20)]
        counts = collections.Counter(future.result()[1] for future in futures)
    assert max(counts.values()) <= 2


def test_shutdown_waits_for_the_tasks_that_still_need_new_workers() -> None:
    pool = owngil.Pool(2, max_tasks_per_child=1)
    futures = [pool.submit(tasks.add, number) for number in range(8)]
    pool.shutdown()
    assert [future.result(timeout=0) for future in futures] == list(range(1, 9))


def test_map_works_with_recycled_workers() -> None:
    with owngil.Pool(2, max_tasks_per_child=2) as pool:
        assert list(pool.map(tasks.add, range(30), chunksize=3)) == list(range(1, 31))


def test_the_rank_stays_and_the_initializer_runs_again() -> None:
    with owngil.Pool(1, initializer=_note, max_tasks_per_child=1) as pool:
        seen = [pool.submit(_ask).result() for _ in range(3)]
    assert {rank for rank, _, _ in seen} == {0}
    assert len({pid for _, pid, _ in seen}) == 3
    assert all(noted == pid for _, pid, noted in seen)


def test_a_task_of_another_worker_is_not_touched(gate: Gate) -> None:
    with owngil.Pool(2, max_tasks_per_child=1) as pool:
        held = pool.submit(gate.enter)
        gate.wait_for_entered()
        assert [pool.submit(tasks.echo, number).result() for number in range(4)] == [0, 1, 2, 3]
        gate.open()
        assert held.result() > 0


_noted = 0


def _note() -> None:
    global _noted
    _noted = tasks.rank_and_pid()[1]


def _ask() -> tuple[int, int, int]:
    return (*tasks.rank_and_pid(), _noted)

# SPDX-License-Identifier: BSD-3-Clause
"""max_tasks_per_child: a worker ends after so many tasks and another one takes its place."""

from __future__ import annotations

import collections
import threading
from collections import Counter
from pathlib import Path

import pytest
import tasks

import owngil
from harness.conditions import wait_until
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


@pytest.mark.parametrize("threads", [1, 4])
def test_one_task_a_worker_with_many_threads_and_maps_neither_hangs_nor_loses(
    threads: int, tmp_path: Path
) -> None:
    """The standard pool deadlocks: cpython#115634."""
    (tmp_path / "runs").touch()
    returned: list[object] = []

    def call(number: int) -> None:
        labels = [f"{number}/{count}" for count in range(30)]
        futures = [
            pool.submit(tasks.append_line, tmp_path / "runs", label) for label in labels[:10]
        ]
        returned.extend(
            pool.map(tasks.append_line, [tmp_path / "runs"] * 20, labels[10:], chunksize=1)
        )
        returned.extend(future.result() for future in futures)

    with owngil.Pool(2, max_tasks_per_child=1) as pool:
        callers = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    wanted = Counter(f"{number}/{count}" for number in range(threads) for count in range(30))
    assert Counter(returned) == wanted
    assert Counter((tmp_path / "runs").read_text().split()) == wanted


def test_a_worker_that_hangs_at_its_exit_holds_up_nobody(gate: Gate) -> None:
    """A thread that a task has left behind keeps its process from ending; then it is killed, once
    its place is needed."""
    with owngil.Pool(1, max_tasks_per_child=1) as pool:
        for _ in range(4):
            pool.submit(tasks.leave_a_thread_behind, gate).result()
        wait_until(lambda: pool.stats().recycled == 4)
        gate.open()


def test_the_next_worker_starts_while_the_one_before_still_leaves(gate: Gate) -> None:
    with owngil.Pool(1, max_tasks_per_child=1) as pool:
        pool.submit(tasks.leave_a_thread_behind, gate).result()
        assert pool.submit(tasks.rank_and_pid).result()[0] == 0
        assert pool.stats().leaving >= 1
        gate.open()


def test_stats_count_those_that_were_recycled_apart_from_those_that_died() -> None:
    with owngil.Pool(1, max_tasks_per_child=2) as pool:
        for number in range(6):
            assert pool.submit(tasks.echo, number).result() == number
        wait_until(lambda: pool.stats().recycled == 3)
        with pytest.raises(owngil.WorkerDied):
            pool.submit(tasks.end_by_exit_code, 1).result()
        wait_until(lambda: pool.stats().restarts == 1)
        assert pool.stats().recycled == 3


_noted = 0


def _note() -> None:
    global _noted
    _noted = tasks.rank_and_pid()[1]


def _ask() -> tuple[int, int, int]:
    return (*tasks.rank_and_pid(), _noted)

# SPDX-License-Identifier: BSD-3-Clause
"""Pool.stats() is an immutable snapshot; owngil.worker() says where a task runs."""

from __future__ import annotations

import dataclasses
import itertools
import os
from typing import Any

import pytest
import tasks

import owngil
from harness import scripts
from harness.conditions import wait_until
from harness.gate import Gate
from harness.starts import pids_of

pytestmark = pytest.mark.kinds("process", "apart")


def test_the_snapshot_names_each_worker(pool: owngil.Pool, gate: Gate) -> None:
    held = [pool.submit(gate.enter) for _ in range(2)]
    pids = {pid for pid, _ in gate.wait_for_entered(2)}
    assert set(pids_of(pool)) == pids
    assert [worker.rank for worker in pool.stats().workers] == [0, 1]
    gate.open()
    for future in held:
        future.result()


def test_the_snapshot_counts_what_runs_and_what_waits(pool: owngil.Pool, gate: Gate) -> None:
    held = [pool.submit(gate.enter) for _ in range(2)]
    gate.wait_for_entered(2)
    waiting = [pool.submit(tasks.echo, number) for number in range(100)]
    stats = pool.stats()
    assert stats.running == 2
    assert stats.pending == 100
    gate.open()
    for future in [*held, *waiting]:
        future.result()
    stats = pool.stats()
    assert stats.running == 0
    assert stats.pending == 0


def test_the_snapshot_counts_tasks_done_and_time_spent(pool: owngil.Pool) -> None:
    for number in range(200):
        pool.submit(tasks.count_to, number * 10).result()
    workers = pool.stats().workers
    assert sum(worker.tasks_done for worker in workers) == 200
    assert sum(worker.busy_time for worker in workers) > 0


def test_the_snapshot_counts_restarts(pool: owngil.Pool) -> None:
    assert pool.stats().restarts == 0
    with pytest.raises(owngil.WorkerDied):
        pool.submit(tasks.end_by_signal).result()
    pool.submit(tasks.echo, 1).result()
    wait_until(lambda: pool.stats().restarts == 1)


def test_the_snapshot_cannot_be_changed(pool: owngil.Pool) -> None:
    stats: Any = pool.stats()
    for name in ("running", "pending", "restarts", "workers"):
        with pytest.raises((AttributeError, TypeError, dataclasses.FrozenInstanceError)):
            setattr(stats, name, 3)
    with pytest.raises((AttributeError, TypeError, dataclasses.FrozenInstanceError)):
        stats.workers[0].pid = 3
    assert isinstance(stats.workers, tuple)


def test_a_snapshot_stays_as_it_was(pool: owngil.Pool) -> None:
    before = pool.stats()
    done = sum(worker.tasks_done for worker in before.workers)
    pool.submit(tasks.echo, 1).result()
    assert sum(worker.tasks_done for worker in before.workers) == done
    assert sum(worker.tasks_done for worker in pool.stats().workers) == done + 1


def test_a_closed_pool_still_has_a_snapshot() -> None:
    with owngil.Pool(2) as pool:
        pool.submit(tasks.echo, 1).result()
    stats = pool.stats()
    assert stats.running == 0
    assert stats.pending == 0


def test_worker_says_where_a_task_runs() -> None:
    with owngil.Pool(2, name="kitchen") as pool:
        rank, pid, kind, name = pool.submit(_identity).result()
        assert rank in (0, 1)
        assert pid in pids_of(pool)
        assert kind == "process"
        assert name == "kitchen"


def test_worker_is_none_outside_of_tasks() -> None:
    assert owngil.worker() is None
    assert scripts.run_code("import owngil; print(owngil.worker())").lines == ["None"]


def test_the_ranks_of_a_pool_are_those_below_its_number_of_workers(gate: Gate) -> None:
    with owngil.Pool(4) as pool:
        held = [pool.submit(_enter_with_rank, gate) for _ in range(4)]
        gate.wait_for_entered(4)
        gate.open()
        assert sorted(future.result() for future in held) == [0, 1, 2, 3]


def test_a_rank_stays_with_the_place_and_not_with_the_process() -> None:
    with owngil.Pool(1) as pool:
        rank, pid = pool.submit(tasks.rank_and_pid).result()
        with pytest.raises(owngil.WorkerDied):
            pool.submit(os.kill, pid, 9).result()
        new_rank, new_pid = pool.submit(tasks.rank_and_pid).result()
        assert (new_rank, rank) == (0, 0)
        assert new_pid != pid


def test_a_dead_worker_is_named_by_its_rank_and_pid(pool: owngil.Pool) -> None:
    rank, pid = pool.submit(tasks.rank_and_pid).result()
    errors = (pool.submit(_kill_if, pid).exception() for _ in itertools.count())
    error = next(error for error in errors if error is not None)
    assert isinstance(error, owngil.WorkerDied)
    assert (error.pid, error.rank) == (pid, rank)


def _identity() -> tuple[int, int, str, str]:
    worker = owngil.worker()
    assert worker is not None
    return worker.rank, worker.pid, worker.kind, worker.pool


def _enter_with_rank(gate: Gate) -> int:
    gate.enter()
    return tasks.rank_and_pid()[0]


def _kill_if(pid: int) -> None:
    if os.getpid() == pid:
        os.kill(pid, 9)

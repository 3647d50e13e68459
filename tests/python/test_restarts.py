# SPDX-License-Identifier: BSD-3-Clause
"""Restart intensity: too many workers lost with no task to blame break the pool; it says why."""

from __future__ import annotations

import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import tasks

import owngil
from harness import scripts
from harness.conditions import wait_until
from harness.gate import Gate
from harness.starts import pids_of


def test_more_idle_workers_killed_than_allowed_break_the_pool() -> None:
    with owngil.Pool(1, max_restarts=2, restart_window=600) as pool:
        pids = [_kill_idle(pool) for _ in range(2)]
        assert pool.submit(tasks.echo, 1).result() == 1
        pids.append(_kill_idle(pool))
        wait_until(lambda: pool._broken)
        with pytest.raises(owngil.PoolBroken, match="max_restarts") as caught:
            pool.submit(tasks.echo, 1)
    assert isinstance(caught.value, BrokenProcessPool)
    cause = caught.value.__cause__
    assert isinstance(cause, owngil.WorkerDied)
    assert (cause.signal, cause.pid, cause.rank) == (signal.SIGKILL, pids[-1], 0)
    notes = caught.value.__notes__
    assert len(notes) == 3
    for pid, note in zip(pids, notes, strict=True):
        assert f"pid {pid}" in note
        assert "SIGKILL" in note


def test_what_still_runs_when_the_pool_breaks_fails_with_the_reason(gate: Gate) -> None:
    with owngil.Pool(2, max_restarts=0) as pool:
        held = pool.submit(gate.enter)
        gate.wait_for_entered()
        killed = _kill_idle(pool)
        error = held.exception()
        assert isinstance(error, owngil.PoolBroken)
        assert isinstance(error.__cause__, owngil.WorkerDied)
        assert error.__cause__.pid == killed


def test_with_no_worker_to_be_had_pending_work_fails_and_nothing_hangs() -> None:
    """A template that cannot run: every start fails, at once."""
    source = """
        import owngil, owngil._pool as module
        launch_spec = module.launch_spec
        def refused(role, **settings):
            _, env, guardian, config = launch_spec(role, **settings)
            return [b"/bin/false"], env, guardian, config
        module.launch_spec = refused
        with owngil.Pool(2) as pool:
            futures = [pool.submit(pow, 2, 3) for _ in range(5)]
            results = pool.map(abs, range(5))
            for future in futures: print(type(future.exception()).__name__)
            try: list(results)
            except owngil.PoolBroken as error: print(error.__cause__)
    """
    done = scripts.run_code(source)
    assert done.lines[:5] == ["PoolBroken"] * 5
    assert "no worker could be started" in done.lines[5]
    assert "exit code 1" in done.lines[5]


def test_with_callbacks_alone_to_be_told_the_pool_breaks_too() -> None:
    source = """
        import owngil, owngil._pool as module, queue
        launch_spec = module.launch_spec
        def refused(role, **settings):
            _, env, guardian, config = launch_spec(role, **settings)
            return [b"/bin/false"], env, guardian, config
        module.launch_spec = refused
        told = queue.SimpleQueue()
        pool = owngil.Pool(1)
        pool.submit(pow, 2, 3).add_done_callback(told.put)
        print(type(told.get(timeout=30).exception()).__name__)
        pool.shutdown()
    """
    assert scripts.run_code(source).lines == ["PoolBroken"]


@pytest.mark.parametrize("max_restarts", [0, "auto"])
def test_tasks_that_kill_their_workers_do_not_count(max_restarts: int | str) -> None:
    with owngil.Pool(2, max_restarts=max_restarts, restart_window=600) as pool:
        deadly = [pool.submit(tasks.end_by_exit_code, 3) for _ in range(40)]
        assert all(isinstance(future.exception(), owngil.WorkerDied) for future in deadly)
        outcomes = tasks.outcomes(pool.map(tasks.die_at, range(30), range(30), chunksize=5))
        assert all(isinstance(outcome, owngil.WorkerDied) for outcome in outcomes)
        assert pool.submit(tasks.echo, 1).result() == 1
        assert pool.stats().restarts >= 69


def test_workers_stopped_for_their_task_do_not_count(gate: Gate) -> None:
    with owngil.Pool(1, max_restarts=0) as pool:
        for number in range(3):
            with pytest.raises(owngil.TaskTimeout):
                pool.options(timeout=0.01).submit(gate.enter, number).result()
        held = pool.submit(gate.enter, "held")
        wait_until(held.running)
        pool.kill(held)
        assert pool.submit(tasks.echo, 1).result() == 1


def test_workers_that_leave_because_they_are_to_do_not_count() -> None:
    with owngil.Pool(2, max_restarts=0, max_tasks_per_child=1, idle_timeout=0.001) as pool:
        for size in (1, 3, 2, 1):
            pool.resize(size)
            assert list(pool.map(tasks.echo, range(10), chunksize=1)) == list(range(10))
        wait_until(lambda: all(worker.state == "absent" for worker in pool.stats().workers))
        assert pool.submit(tasks.echo, 1).result() == 1


def test_all_workers_killed_at_once_are_replaced_by_default() -> None:
    with owngil.Pool(4) as pool:
        for _ in range(2):
            pids = set(pids_of(pool))
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda pids=pids: not pids & {worker.pid for worker in pool.stats().workers})
        assert pool.submit(tasks.echo, 1).result() == 1


def test_with_none_for_a_limit_the_pool_outlives_any_number_of_losses() -> None:
    with owngil.Pool(1, max_restarts=None) as pool:
        for _ in range(12):
            _kill_idle(pool)
            assert pool.submit(tasks.echo, 1).result() == 1


def test_a_pool_whose_starts_fail_does_not_spin(tmp_path: Path) -> None:
    """Without a limit it goes on trying, but ever more seldom: the user's process is asleep."""
    source = """
        import os, owngil, owngil._pool as module, time
        launch_spec = module.launch_spec
        def refused(role, **settings):
            _, env, guardian, config = launch_spec(role, **settings)
            return [b"/bin/false"], env, guardian, config
        module.launch_spec = refused
        pool = owngil.Pool(1, max_restarts=None)
        future = pool.submit(pow, 2, 3)
        begun = time.monotonic()
        while pool.stats().restarts < 8: time.sleep(0.05)
        passed = time.monotonic() - begun
        print(future.done(), pool.stats().restarts < 20, passed > 1, flush=True)
        os._exit(0)
    """
    assert scripts.run_code(source).lines == ["False True True"]


def _kill_idle(pool: owngil.Pool) -> int:
    """Kills the first worker, once it is up, and waits for the pool to notice."""
    (worker, *_) = wait_until(lambda: [w for w in pool.stats().workers if w.state == "idle"])
    assert worker.pid is not None
    before = pool.stats().restarts
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: pool._broken or pool.stats().restarts > before)
    return worker.pid

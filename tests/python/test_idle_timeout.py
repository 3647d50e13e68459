# SPDX-License-Identifier: BSD-3-Clause
"""idle_timeout: workers with nothing to do leave, down to none, and come back with the work."""

from __future__ import annotations

import concurrent.futures
import os
import queue
import threading
import time
from pathlib import Path

import pytest
import tasks

import owngil
from harness import processes
from harness.conditions import wait_until
from harness.gate import Gate
from harness.starts import pids_of

AN_INSTANT_S = 0.005


def test_all_workers_leave_when_there_is_nothing_to_do() -> None:
    with owngil.Pool(3, idle_timeout=AN_INSTANT_S) as pool:
        assert list(pool.map(tasks.echo, range(20))) == list(range(20))
        _wait_until_deserted(pool)
        assert [worker.state for worker in pool.stats().workers] == ["absent"] * 3
        assert [worker.pid for worker in pool.stats().workers] == [None] * 3
        assert pool.stats().restarts == pool.stats().recycled == 0
        names = [process.name for process in processes.family(os.getpid())]
        assert "owngil-worker" not in names


@pytest.mark.parametrize("start", ["template", "spawn"])
def test_they_come_back_when_there_is_work(start: str) -> None:
    with owngil.Pool(2, idle_timeout=AN_INSTANT_S, start=start) as pool:
        for number in range(3):
            _wait_until_deserted(pool)
            assert pool.submit(tasks.add, number).result() == number + 1


def test_only_as_many_come_back_as_there_is_work_for(gate: Gate) -> None:
    with owngil.Pool(4, idle_timeout=0.05) as pool:
        _wait_until_deserted(pool)
        held = [pool.submit(gate.enter, number) for number in range(2)]
        assert len({pid for pid, _ in gate.wait_for_entered(2)}) == 2
        assert sum(worker.state == "absent" for worker in pool.stats().workers) == 2
        gate.open()
        for future in held:
            future.result()


def test_all_come_back_for_a_map_that_keeps_them_busy(gate: Gate) -> None:
    with owngil.Pool(3, idle_timeout=AN_INSTANT_S) as pool:
        _wait_until_deserted(pool)
        results = pool.map(gate.enter, range(6), chunksize=1)
        assert len({pid for pid, _ in gate.wait_for_entered(3)}) == 3
        gate.open()
        assert len(list(results)) == 6


def test_a_worker_that_runs_a_task_or_has_one_waiting_stays(gate: Gate) -> None:
    with owngil.Pool(1, idle_timeout=AN_INSTANT_S) as pool:
        held = pool.submit(gate.enter)
        waiting = pool.submit(os.getpid)
        ((pid, _),) = gate.wait_for_entered()
        with owngil.Pool(1, idle_timeout=10 * AN_INSTANT_S) as clock:
            _wait_until_deserted(clock)  # that took ten times as long
        gate.open()
        assert held.result() == waiting.result() == pid


def test_results_that_nobody_has_asked_for_keep_no_worker_and_are_kept() -> None:
    with owngil.Pool(2, idle_timeout=AN_INSTANT_S) as pool:
        futures = [pool.submit(tasks.add, number) for number in range(30)]
        _wait_until_deserted(pool)
        assert [future.result() for future in futures] == list(range(1, 31))


def test_futures_that_are_watched_are_told() -> None:
    told: queue.SimpleQueue[concurrent.futures.Future[int]] = queue.SimpleQueue()
    with owngil.Pool(2, idle_timeout=AN_INSTANT_S) as pool:
        for _ in range(3):
            _wait_until_deserted(pool)
            futures = [pool.submit(tasks.add, number) for number in range(20)]
            for future in futures:
                future.add_done_callback(told.put)
            assert len({told.get(timeout=30) for _ in futures}) == 20


def test_a_map_that_is_asked_for_its_results_slowly_gets_all_of_them() -> None:
    with owngil.Pool(2, idle_timeout=AN_INSTANT_S) as pool:
        results = pool.map(tasks.add, range(12), buffersize=2, chunksize=1)
        seen = []
        for result in results:
            seen.append(result)
            _wait_until_deserted(pool)
        assert seen == list(range(1, 13))


def test_the_initializer_runs_in_each_worker_that_comes(tmp_path: Path) -> None:
    with owngil.Pool(1, idle_timeout=AN_INSTANT_S, initializer=_note, initargs=(tmp_path,)) as pool:
        pids = set()
        for _ in range(3):
            _wait_until_deserted(pool)
            pids.add(pool.submit(os.getpid).result())
        assert len(pids) == 3
        assert pids <= {int(path.name) for path in tmp_path.iterdir()}


def test_a_deserted_pool_ends_like_any_other() -> None:
    pool = owngil.Pool(2, idle_timeout=AN_INSTANT_S)
    _wait_until_deserted(pool)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(tasks.echo, 1)


def test_a_deserted_pool_can_be_resized() -> None:
    with owngil.Pool(2, idle_timeout=AN_INSTANT_S) as pool:
        _wait_until_deserted(pool)
        pool.resize(4)
        pool.resize(1)
        assert pool.submit(tasks.rank_and_pid).result()[0] == 0


def test_many_threads_meet_workers_that_leave_and_lose_nothing() -> None:
    wrong = []

    def call(pool: owngil.Pool, number: int) -> None:
        for count in range(100):
            if pool.submit(tasks.add, number, count).result() != number + count:
                wrong.append((number, count))

    with owngil.Pool(3, idle_timeout=0.001) as pool:
        threads = [threading.Thread(target=call, args=(pool, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert pool.stats().restarts == 0


def test_without_a_timeout_they_stay() -> None:
    with owngil.Pool(2) as pool, owngil.Pool(1, idle_timeout=AN_INSTANT_S) as other:
        _wait_until_deserted(other)
        assert all(worker.state != "absent" for worker in pool.stats().workers)


def test_stats_tell_for_how_long_a_worker_has_been_idle(gate: Gate) -> None:
    with owngil.Pool(1) as pool:
        held = pool.submit(gate.enter)
        gate.wait_for_entered()
        assert pool.stats().workers[0].idle_for is None
        gate.open()
        held.result()
        pids_of(pool)
        first = pool.stats().workers[0].idle_for
        assert first is not None
        wait_until(lambda: (pool.stats().workers[0].idle_for or 0) > first + 0.01)
        before = time.monotonic()
        pool.submit(tasks.echo, 1).result()
        last = pool.stats().workers[0].idle_for
        assert last is not None
        assert last <= time.monotonic() - before


def _wait_until_deserted(pool: owngil.Pool) -> None:
    wait_until(
        lambda: (
            all(worker.state == "absent" for worker in pool.stats().workers)
            and pool.stats().leaving == 0
        )
    )


def _note(folder: Path) -> None:
    (folder / str(os.getpid())).touch()

# SPDX-License-Identifier: BSD-3-Clause
"""Pool.resize(): more workers at once, fewer as soon as they have ended their present task."""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import tasks

import owngil
from harness import processes, scripts
from harness.conditions import wait_until
from harness.gate import Gate
from harness.starts import pids_of


def test_a_larger_pool_runs_more_tasks_at_once(gate: Gate) -> None:
    with owngil.Pool(1) as pool:
        held = [pool.submit(gate.enter, number) for number in range(4)]
        gate.wait_for_entered(1)
        pool.resize(4)
        assert pool._max_workers == 4
        assert len({pid for pid, _ in gate.wait_for_entered(4)}) == 4
        assert [worker.rank for worker in pool.stats().workers] == [0, 1, 2, 3]
        gate.open()
        for future in held:
            future.result()


def test_a_smaller_pool_runs_fewer_tasks_at_once(gate: Gate) -> None:
    with owngil.Pool(4) as pool:
        pool.resize(2)
        assert pool._max_workers == 2
        futures = [pool.submit(_rank_at, gate) for _ in range(8)]
        gate.wait_for_entered(2)
        assert [worker.rank for worker in pool.stats().workers] == [0, 1]
        gate.open()
        assert {future.result() for future in futures} <= {0, 1}
        assert len({pid for pid, _ in gate.entered()}) == 2


def test_a_worker_that_is_one_too_many_ends_its_task_and_no_other(gate: Gate) -> None:
    with owngil.Pool(3) as pool:
        held = [pool.submit(_rank_at, gate) for _ in range(3)]
        gate.wait_for_entered(3)
        waiting = [pool.submit(tasks.rank_and_pid) for _ in range(30)]
        pool.resize(1)
        stats = pool.stats()
        assert len(stats.workers) == 1
        assert stats.leaving == 2
        gate.open()
        assert sorted(future.result() for future in held) == [0, 1, 2]
        assert {future.result()[0] for future in waiting} == {0}
        wait_until(lambda: pool.stats().leaving == 0)
        assert pool.stats().restarts == 0


def test_workers_that_are_too_many_are_gone_when_they_have_left() -> None:
    with owngil.Pool(5) as pool:
        pids = set(pids_of(pool))
        assert len(pids) == 5
        pool.resize(2)
        wait_until(lambda: pool.stats().leaving == 0)
        family = {process.pid for process in processes.family(os.getpid())}
        assert len(pids & family) == 2


def test_a_busy_worker_stays_when_the_pool_is_large_again_in_time(gate: Gate) -> None:
    with owngil.Pool(2) as pool:
        held = [pool.submit(gate.enter) for _ in range(2)]
        pids = {pid for pid, _ in gate.wait_for_entered(2)}
        for _ in range(5):
            pool.resize(1)
            pool.resize(2)
        assert set(pids_of(pool)) == pids
        gate.open()
        for future in held:
            future.result()


def test_each_new_worker_runs_the_initializer(tmp_path: Path) -> None:
    with owngil.Pool(1, initializer=_note, initargs=(tmp_path,)) as pool:
        pool.resize(3)
        pids = set(pids_of(pool))
        assert len(pids) == 3
        wait_until(lambda: {int(path.name) for path in tmp_path.iterdir()} == pids)


def test_small_and_large_by_turns_leaves_nothing_behind_and_loses_nothing() -> None:
    with owngil.Pool(1) as pool:
        for turn in range(12):
            pool.resize(64 if turn % 2 == 0 else 1)
            assert [pool.submit(tasks.add, number).result() for number in range(20)] == list(
                range(1, 21)
            )
        wait_until(lambda: pool.stats().leaving == 0)
        assert len(pool.stats().workers) == 1
        assert pool.stats().restarts == 0


def test_many_threads_may_resize_while_others_submit_and_map() -> None:
    with owngil.Pool(2) as pool:
        wrong: list[Any] = []
        go_on = threading.Event()

        def resize(seed: int) -> None:
            for size in itertools.islice(itertools.cycle((1, 5, 2, 7, 3)), seed, seed + 30):
                pool.resize(size)

        def submit() -> None:
            while not go_on.is_set():
                futures = [pool.submit(tasks.add, number) for number in range(50)]
                wrong.extend(f for n, f in enumerate(futures) if f.result() != n + 1)

        def run_map() -> None:
            while not go_on.is_set():
                wrong.extend({*range(300)} ^ {*pool.map(tasks.echo, range(300))})

        workers = [threading.Thread(target=target) for target in (submit, submit, run_map)]
        resizers = [threading.Thread(target=resize, args=(seed,)) for seed in range(3)]
        for thread in [*workers, *resizers]:
            thread.start()
        for thread in resizers:
            thread.join()
        go_on.set()
        for thread in workers:
            thread.join()
        assert not wrong
        pool.resize(2)
        assert pool._max_workers == len(pool.stats().workers) == 2


def test_no_task_runs_twice_while_the_pool_is_resized(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with owngil.Pool(4) as pool:
        futures = []
        for number in range(400):
            futures.append(pool.submit(tasks.append_line, tmp_path / "runs", number))
            if number % 20 == 0:
                pool.resize(1 + number // 20 % 5)
        for future in futures:
            future.result()
    runs = Counter((tmp_path / "runs").read_text().split())
    assert runs == Counter(str(number) for number in range(400))


def test_tasks_begin_in_order_though_they_were_taken_back_from_a_ring(
    gate: Gate, tmp_path: Path
) -> None:
    with owngil.Pool(2) as pool:
        held = [pool.submit(gate.enter, number) for number in range(2)]
        gate.wait_for_entered(2)
        futures = [
            pool.submit(tasks.append_line, tmp_path / "runs", number) for number in range(50)
        ]
        pool.resize(1)
        gate.open()
        for future in [*held, *futures]:
            future.result()
    begun = [int(number) for number in (tmp_path / "runs").read_text().split()]
    assert sorted(begun) == list(range(50))
    assert begun == sorted(begun)


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(pool: owngil.Pool, size: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        pool.resize(size)
    assert pool._max_workers == 2


@pytest.mark.parametrize("size", ["2", 2.0, None, True])
def test_a_size_that_is_no_int_is_refused(pool: owngil.Pool, size: Any) -> None:
    with pytest.raises(TypeError, match="max_workers must be an integer"):
        pool.resize(size)


def test_after_shutdown_it_is_refused_as_submit_is(pool: owngil.Pool) -> None:
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.resize(3)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.resize(1)


def test_a_broken_pool_says_that_it_is_broken() -> None:
    with owngil.Pool(1, initializer=os._exit, initargs=(3,)) as pool:
        wait_until(lambda: pool._broken)
        with pytest.raises(BrokenProcessPool, match="initializer"):
            pool.resize(2)


def test_where_the_system_refuses_more_workers_the_pool_is_as_it_was() -> None:
    source = """
        import os, resource, owngil
        pool = owngil.Pool(2)
        pool.submit(pow, 2, 3).result()
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 15, used + 15))
        try: pool.resize(60)
        except OSError as error: print("refused:", error.strerror.split(" (")[0])
        print(pool._max_workers, len(pool.stats().workers), pool.submit(pow, 2, 3).result())
        pool.shutdown()
    """
    done = scripts.run_code(source, quiet=False)
    assert done.lines[0].startswith("refused: ")
    assert done.lines[1] == "2 2 8"


def test_shutdown_waits_for_a_worker_that_is_one_too_many(gate: Gate) -> None:
    pool = owngil.Pool(2)
    held = [pool.submit(gate.enter) for _ in range(2)]
    gate.wait_for_entered(2)
    pool.resize(1)
    pool.shutdown(wait=False)
    gate.open()
    pool.shutdown()
    assert all(future.done() for future in held)


def _rank_at(gate: Gate) -> int:
    gate.enter()
    return tasks.rank_and_pid()[0]


def _note(folder: Path) -> None:
    (folder / str(os.getpid())).touch()

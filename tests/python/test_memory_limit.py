# SPDX-License-Identifier: BSD-3-Clause
"""max_memory_per_child: a worker that has more private memory than it may after a task leaves."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
import tasks

import owngil
from harness import scripts
from harness.conditions import wait_until

MIB = 1 << 20
LIMIT = 120 * MIB
LEAK = 40 * MIB


@pytest.mark.parametrize("start", ["template", "spawn"])
def test_a_worker_that_leaks_is_replaced_before_it_has_much_more_than_it_may(start: str) -> None:
    with owngil.Pool(1, max_memory_per_child=LIMIT, start=start) as pool:
        leaked = [pool.submit(tasks.keep, LEAK).result() for _ in range(12)]
        most = Counter[int]()
        for size, pid in leaked:
            most[pid] = max(most[pid], size)
        assert len(most) >= 3
        assert max(most.values()) <= LIMIT + LEAK
        wait_until(lambda: pool.stats().recycled >= len(most) - 1)
        assert pool.stats().restarts == 0


def test_workers_that_leak_while_tasks_wait_lose_none_of_them() -> None:
    with owngil.Pool(2, max_memory_per_child=LIMIT) as pool:
        futures = [pool.submit(tasks.keep, LEAK) for _ in range(30)]
        leaked = [future.result() for future in futures]
        assert len({pid for _, pid in leaked}) >= 5
        assert len(set(leaked)) == 30  # each task added its own
        assert pool.stats().restarts == 0


def test_a_leak_in_a_map_is_noticed_between_its_chunks() -> None:
    with owngil.Pool(1, max_memory_per_child=LIMIT) as pool:
        leaked = list(pool.map(tasks.keep, [LEAK] * 12, chunksize=1))
        assert len({pid for _, pid in leaked}) >= 3


def test_memory_that_a_task_has_given_back_does_not_count() -> None:
    with owngil.Pool(1, max_memory_per_child=LIMIT) as pool:
        assert len({pool.submit(_use, 2 * LIMIT).result() for _ in range(10)}) == 1
        assert pool.stats().recycled == 0


def test_what_a_worker_shares_with_its_template_does_not_count(tmp_path: Path) -> None:
    """Forked after that module was imported it has those bytes, but they are not its own."""
    (tmp_path / "owngil_test_bulky.py").write_text(f"bulk = bytes(bytearray({2 * LIMIT}))\n")
    source = f"""
        import os, sys
        sys.path.insert(0, {str(tmp_path)!r})
        import owngil
        with owngil.Pool(
            1, max_memory_per_child={LIMIT}, preload=["owngil_test_bulky"]
        ) as pool:
            def size():
                import owngil_test_bulky
                return len(owngil_test_bulky.bulk), os.getpid()
            print(len({{pool.submit(size).result() for _ in range(20)}}))
            print(pool.stats().recycled)
    """
    assert scripts.run_code(source).lines == ["1", "0"]


def test_a_limit_below_what_any_worker_has_means_one_task_for_each() -> None:
    with owngil.Pool(2, max_memory_per_child=1) as pool:
        pids = [pool.submit(os.getpid).result() for _ in range(10)]
        assert len(set(pids)) == 10
        assert list(pool.map(tasks.echo, range(10), chunksize=1)) == list(range(10))


def test_tasks_behind_a_worker_that_leaves_run_though_nobody_asks(tmp_path: Path) -> None:
    with owngil.Pool(1, max_memory_per_child=1) as pool:
        futures = [pool.submit(tasks.touch, tmp_path / str(number)) for number in range(8)]
        wait_until(lambda: len(list(tmp_path.iterdir())) == 8)
        assert all(future.exception() is None for future in futures)


def _use(size: int) -> int:
    assert len(os.urandom(1) * size) == size
    return os.getpid()

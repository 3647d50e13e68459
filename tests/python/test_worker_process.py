# SPDX-License-Identifier: BSD-3-Clause
"""A worker is an ordinary process to the code that runs in it, and no heavier than it must be."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import tasks

import owngil
from harness.conditions import wait_until

pytestmark = pytest.mark.kinds("process")  # about the process that a worker is


def test_no_signal_is_blocked_and_none_is_handled_in_a_strange_way(pool: owngil.Pool) -> None:
    blocked, terminate, interrupt, child = pool.submit(_signals).result()
    assert blocked == set()
    assert terminate == signal.SIG_DFL
    assert interrupt is signal.default_int_handler
    assert child == signal.SIG_DFL


def test_the_users_own_signal_mask_and_handlers_are_left_alone(pool: owngil.Pool) -> None:
    pool.submit(tasks.echo, 1).result()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_task_may_start_programs(pool: owngil.Pool) -> None:
    assert pool.submit(_run_program, "exit 3").result() == 3


def test_a_task_may_start_threads(pool: owngil.Pool) -> None:
    assert pool.submit(_sum_in_threads, 10).result() == 45


def test_a_task_may_run_an_event_loop(pool: owngil.Pool) -> None:
    assert pool.submit(_run_event_loop).result() == "looped"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_task_may_use_multiprocessing(pool: owngil.Pool, method: str) -> None:
    assert pool.submit(_use_multiprocessing, method).result() == 8


def test_a_task_may_handle_signals(pool: owngil.Pool) -> None:
    assert pool.submit(_handle_alarm).result() == "handled"


def test_a_task_runs_in_the_main_thread(pool: owngil.Pool) -> None:
    assert pool.submit(_is_main_thread).result()


def test_a_worker_has_no_more_threads_than_that_one(pool: owngil.Pool) -> None:
    assert pool.submit(os.listdir, "/proc/self/task").result().__len__() == 1


def test_files_that_the_user_has_open_are_not_open_in_a_worker(tmp_path: Path) -> None:
    with (tmp_path / "mine").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        with owngil.Pool(1) as pool, owngil.Pool(1, start="spawn") as spawned:
            for each in (pool, spawned):
                assert str(tmp_path / "mine") not in each.submit(_open_files).result()


def test_a_worker_does_not_gather_files_or_memory_maps() -> None:
    with owngil.Pool(1) as pool:
        list(pool.map(tasks.echo, range(1000)))
        before = pool.submit(_holdings).result()
        for number in range(200):
            pool.submit(tasks.echo, [number]).result()
            pool.submit(tasks.capture, lambda number=number: number).result()
        list(pool.map(tasks.echo, range(1000)))
        assert pool.submit(_holdings).result() == before


@pytest.mark.parametrize("way", ["results", "arguments", "both"])
def test_shared_memory_of_large_values_is_used_again(pool: owngil.Pool, way: str) -> None:
    block = bytes(4 << 20)
    for _ in range(200):
        if way == "results":
            pool.submit(bytes, 4 << 20).result()
        elif way == "arguments":
            pool.submit(len, block).result()
        else:
            pool.submit(tasks.echo, block).result()
    assert _shared_memory_in_use() < 100 << 20


def test_shared_memory_of_results_that_nobody_asks_for_is_used_again(pool: owngil.Pool) -> None:
    for _ in range(20):
        concurrent.futures.wait([pool.submit(bytes, 4 << 20) for _ in range(10)])
    assert _shared_memory_in_use() < 200 << 20


def test_the_shared_memory_of_dead_workers_is_given_back() -> None:
    with owngil.Pool(1) as pool:
        for _ in range(20):
            pool.submit(bytes, 8 << 20).result()
            with pytest.raises(owngil.WorkerDied):
                pool.submit(tasks.end_by_signal).result()
        wait_until(lambda: _shared_memory_in_use() < 60 << 20)


def test_an_argument_lives_no_longer_than_its_task() -> None:
    with owngil.Pool(1) as pool:
        pool.submit(tasks.echo, 1).result()
        assert pool.submit(_remember_weakly, _Weakly()).result()
        assert pool.submit(_is_forgotten).result()


def _signals() -> tuple[set[int], object, object, object]:
    return (
        {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])},
        signal.getsignal(signal.SIGTERM),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGCHLD),
    )


def _run_program(text: str) -> int:
    return subprocess.run(["sh", "-c", text], check=False).returncode


def _sum_in_threads(count: int) -> int:
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        return sum(threads.map(int, range(count)))


def _run_event_loop() -> str:
    async def main() -> str:
        await asyncio.sleep(0)
        return "looped"

    return asyncio.run(main())


def _use_multiprocessing(method: str) -> int:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as inside:
        result = inside.submit(pow, 2, 3).result()
    multiprocessing.util._cleanup_tests()  # type: ignore[attr-defined]
    return result


def _handle_alarm() -> str:
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.raise_signal(signal.SIGALRM)
    signal.signal(signal.SIGALRM, before)
    return "handled" if seen else "not handled"


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _open_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except OSError:
            continue
    return found


def _holdings() -> tuple[int, int]:
    memfds = [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd" in line]
    return len(_open_files()), len(memfds)


def _shared_memory_in_use() -> int:
    total = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if "/memfd:" in os.readlink(entry):
                total += entry.stat().st_blocks * 512
        except OSError:
            continue
    return total


class _Weakly:
    pass


_weak: object = None


def _remember_weakly(value: object) -> bool:
    import weakref

    global _weak
    _weak = weakref.ref(value)
    return _weak() is value  # type: ignore[operator]


def _is_forgotten() -> bool:
    return _weak() is None  # type: ignore[operator]

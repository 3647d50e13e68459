# SPDX-License-Identifier: BSD-3-Clause
"""Pool(kind="interpreter"): what is its own. What all kinds promise is tested for each of them."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from stubborn import sleep, spin

import owngil
from harness.conditions import wait_until
from harness.starts import pids_of
from owngil._cpython import interpreters

if sys.version_info < (3, 13):
    pytest.skip("needs CPython 3.13 or later", allow_module_level=True)


@pytest.fixture
def pool() -> Iterator[owngil.Pool]:
    with owngil.Pool(2, kind="interpreter", max_restarts=None) as made:
        yield made


def wait_for_file(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.001)
    return path


def begin_and_wait(begun: str, end: str) -> str:
    with open(begun, "w"):
        pass
    return wait_for_file(end)


# What can be stopped from outside. From a module that is soon imported: what passes its limit
# meanwhile costs the host.
stoppable = pytest.mark.parametrize("task", [spin, sleep] if interpreters().wakes else [spin])


def whereabouts() -> tuple[int, int]:
    import _interpreters

    return os.getpid(), _interpreters.get_current()[0]


def end_by(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def crash() -> None:
    import ctypes

    ctypes.string_at(0)


def crash_in_a_thread() -> None:
    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()


def exit_with(code: int) -> None:
    os._exit(code)


def match_for_ever(begun: str) -> object:
    import re

    with open(begun, "w"):
        pass
    return re.match(r"(a+)+$", "a" * 60 + "b")


def import_numpy() -> None:
    import numpy  # noqa: F401


def start_daemon() -> None:
    threading.Thread(target=print, daemon=True).start()


def test_workers_are_interpreters_of_one_process_that_is_not_the_users(pool: owngil.Pool) -> None:
    (host,) = set(pids_of(pool))
    pid, interpreter = pool.submit(whereabouts).result()
    assert pid == host != os.getpid()
    assert interpreter != 0


def test_hosts_says_how_many_processes_share_the_workers() -> None:
    with owngil.Pool(4, kind="interpreter", hosts=2) as pool:
        pids = pids_of(pool)
        assert pids[0] == pids[2] != pids[1] == pids[3]


def test_two_interpreters_run_at_the_same_time(pool: owngil.Pool, tmp_path: Any) -> None:
    first, second = str(tmp_path / "1"), str(tmp_path / "2")
    futures = [
        pool.submit(begin_and_wait, first, second),
        pool.submit(begin_and_wait, second, first),
    ]
    assert [future.result(30) for future in futures] == [second, first]


def test_extension_modules_are_imported_in_all_at_once(pool: owngil.Pool) -> None:
    def work(number: int) -> str:
        import asyncio
        import datetime
        import decimal
        import hashlib
        import sqlite3

        asyncio.run(asyncio.sleep(0))
        sqlite3.connect(":memory:").close()
        day = datetime.date(2000, 1, 1) + datetime.timedelta(number)
        return hashlib.sha256(f"{day} {decimal.Decimal(number) / 3}".encode()).hexdigest()

    assert list(pool.map(work, range(8), chunksize=1)) == [work(number) for number in range(8)]


@pytest.mark.parametrize(
    ("culprit", "arguments", "exitcode", "number"),
    [
        (exit_with, (7,), 7, None),
        (crash, (), None, signal.SIGSEGV),
        (crash_in_a_thread, (), None, signal.SIGSEGV),
        (end_by, (signal.SIGKILL,), None, signal.SIGKILL),
        (end_by, (signal.SIGTERM,), None, signal.SIGTERM),
        (signal.raise_signal, (signal.SIGABRT,), None, signal.SIGABRT),
    ],
)
def test_the_death_of_the_host_is_the_culprits_and_collateral_to_its_neighbour(
    pool: owngil.Pool,
    tmp_path: Any,
    culprit: Callable[..., Any],
    arguments: tuple[Any, ...],
    exitcode: int | None,
    number: int | None,
) -> None:
    begun, end = str(tmp_path / "begun"), str(tmp_path / "end")
    neighbour = pool.submit(begin_and_wait, begun, end)
    wait_for_file(begun)
    guilty = pool.submit(culprit, *arguments)
    waiting = [pool.submit(abs, -number) for number in range(20)]
    with pytest.raises(owngil.WorkerDied) as of_guilty:
        guilty.result(30)
    with pytest.raises(owngil.WorkerDied, match="shared its process") as of_neighbour:
        neighbour.result(30)
    assert (of_guilty.value.collateral, of_neighbour.value.collateral) == (False, True)
    for died in (of_guilty.value, of_neighbour.value):
        assert (died.exitcode, died.signal) == (exitcode, number)
    assert [future.result(30) for future in waiting] == list(range(20))


def test_a_crash_shows_the_stack_of_the_interpreter_in_which_it_was(pool: owngil.Pool) -> None:
    with pytest.raises(owngil.WorkerDied) as died:
        pool.submit(crash).result(30)
    assert "in crash" in died.value.stack


def test_a_neighbour_runs_again_if_it_may_and_its_run_does_not_count(
    pool: owngil.Pool, tmp_path: Any
) -> None:
    begun, end = str(tmp_path / "begun"), str(tmp_path / "end")
    neighbour = pool.options(retries=1).submit(begin_and_wait, begun, end)
    for _ in range(3):
        wait_for_file(begun)
        os.unlink(begun)
        with pytest.raises(owngil.WorkerDied):
            pool.submit(exit_with, 1).result(30)
    with open(end, "w"):
        pass
    assert neighbour.result(30) == end


def test_nobody_is_to_blame_for_a_kill_from_outside(pool: owngil.Pool, tmp_path: Any) -> None:
    ends = str(tmp_path / "end")
    tasks = []
    for name in "ab":
        tasks.append(pool.submit(begin_and_wait, str(tmp_path / name), ends))
        wait_for_file(str(tmp_path / name))
    os.kill(pids_of(pool)[0], signal.SIGKILL)
    for task in tasks:
        with pytest.raises(owngil.WorkerDied) as died:
            task.result(30)
        assert died.value.collateral is None


def test_what_is_killed_from_outside_again_and_again_is_not_called_poison(
    pool: owngil.Pool, tmp_path: Any
) -> None:
    begun, other, end = (str(tmp_path / name) for name in ("begun", "other", "end"))
    task = pool.options(retries=1).submit(begin_and_wait, begun, end)
    for _ in range(2):
        wait_for_file(begun)
        neighbour = pool.submit(begin_and_wait, other, end)
        wait_for_file(other)
        os.unlink(begun)
        os.unlink(other)
        os.kill(pids_of(pool)[0], signal.SIGKILL)
        with pytest.raises(owngil.WorkerDied):
            neighbour.result(30)
    with pytest.raises(owngil.WorkerDied) as died:
        task.result(30)
    assert type(died.value) is owngil.WorkerDied


@stoppable
def test_what_can_be_stopped_is_cancelled_and_the_host_lives_on(
    pool: owngil.Pool, tmp_path: Path, task: Callable[[Path], object]
) -> None:
    pid = pool.submit(os.getpid).result()
    begun = tmp_path / "begun"
    future = pool.submit(task, begun)
    wait_for_file(str(begun))
    assert future.cancel(running=True)
    with pytest.raises(CancelledError):
        future.result(30)
    assert [pool.submit(os.getpid).result() for _ in range(4)] == [pid] * 4
    assert pool.stats().restarts == 0


@stoppable
def test_what_can_be_stopped_times_out_and_the_host_lives_on(
    pool: owngil.Pool, tmp_path: Path, task: Callable[[Path], object]
) -> None:
    pids_of(pool)

    def lives_on() -> bool:  # unless it gets no CPU for 0.2 s
        pid = pool.submit(os.getpid).result()
        error = pool.options(timeout=0.05).submit(task, tmp_path / "begun").exception(30)
        assert isinstance(error, owngil.TaskTimeout)
        return "no other task is lost" in str(error) and pool.submit(os.getpid).result() == pid

    wait_until(lives_on)


def test_a_call_that_cannot_be_interrupted_costs_the_host_and_says_so(
    pool: owngil.Pool, tmp_path: Any
) -> None:
    begun, end = str(tmp_path / "begun"), str(tmp_path / "end")
    neighbour = pool.submit(begin_and_wait, begun, end)
    wait_for_file(begun)
    # Long enough for it to have come to the call.
    late = pool.options(timeout=1.0).submit(match_for_ever, str(tmp_path / "late"))
    with pytest.raises(owngil.TaskTimeout, match="its process was killed, with the other workers"):
        late.result(30)
    with pytest.raises(owngil.WorkerDied) as died:
        neighbour.result(30)
    assert died.value.collateral is True


@pytest.mark.parametrize(
    ("refused", "kind", "words"),
    [
        (os.fork, RuntimeError, "use subprocess"),
        (lambda: os.execv(sys.executable, ["python"]), RuntimeError, "use subprocess"),
        (start_daemon, RuntimeError, "end the thread"),
        (lambda: signal.signal(signal.SIGUSR1, signal.SIG_DFL), ValueError, "the whole process"),
        (import_numpy, ImportError, "it needs an interpreter alone"),
    ],
    ids=["fork", "exec", "daemon thread", "signal handler", "numpy"],
)
def test_what_an_interpreter_is_refused_names_the_way_out(
    pool: owngil.Pool, refused: Callable[[], Any], kind: type[Exception], words: str
) -> None:
    if refused is import_numpy and importlib.util.find_spec("numpy") is None:
        pytest.skip("numpy is not installed")
    with pytest.raises(kind) as raised:
        pool.submit(refused).result(30)
    (note,) = [note for note in raised.value.__notes__ if note.startswith("owngil: ")]
    assert words in note
    assert 'Pool(kind="process")' in note


def test_subprocess_works(pool: owngil.Pool) -> None:
    def run() -> bytes:
        import subprocess

        return subprocess.run(["/bin/echo", "from below"], capture_output=True, check=True).stdout

    assert pool.submit(run).result(30) == b"from below\n"


def test_each_interpreter_has_an_output_of_its_own(
    pool: owngil.Pool, capfd: pytest.CaptureFixture[str]
) -> None:
    def talk(number: int) -> None:
        for _ in range(50):
            print("line", number, end="")
            print(" of one writer")

    list(pool.map(talk, range(20), chunksize=1))
    lines = capfd.readouterr().out.splitlines()
    assert sorted(lines) == sorted(f"line {n} of one writer" for n in range(20) for _ in range(50))


def test_a_worker_that_has_run_enough_is_replaced_in_a_new_host_where_it_has_to_be() -> None:
    with owngil.Pool(2, kind="interpreter", max_tasks_per_child=5) as pool:
        places = [pool.submit(whereabouts).result(30) for _ in range(40)]
        assert len(set(places)) >= 8
        hosts = {pid for pid, _ in places}
        if interpreters().end_in_place:
            assert len(hosts) == 1
        else:
            for pid in hosts:
                assert len({number for host, number in places if host == pid}) <= 2
        wait_until(lambda: pool.stats().leaving == 0)
        assert pool.stats().restarts == 0


def test_a_pool_that_was_shut_down_leaves_no_host() -> None:
    with owngil.Pool(2, kind="interpreter") as pool:
        pid = pool.submit(os.getpid).result(30)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_initializers_run_in_each_interpreter() -> None:
    def remember(value: str) -> None:
        import builtins

        builtins.remembered = value  # type: ignore[attr-defined]

    def recall() -> str:
        import builtins

        return builtins.remembered  # type: ignore[attr-defined, no-any-return]

    with owngil.Pool(2, initializer=remember, initargs=("it",), kind="interpreter") as pool:
        assert {pool.submit(recall).result(30) for _ in range(10)} == {"it"}


@pytest.mark.parametrize("start", ["template", "spawn"])
def test_tasks_run_however_the_host_was_started(start: str) -> None:
    with owngil.Pool(2, kind="interpreter", start=start) as pool:
        assert list(pool.map(abs, range(-100, 0), chunksize=10)) == list(range(100, 0, -1))


def private_kib(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))


def test_many_tasks_leave_no_memory_behind(pool: owngil.Pool) -> None:
    def run() -> int:
        count = 300_000
        assert sum(pool.map(abs, range(count))) == count * (count - 1) // 2
        futures = [pool.submit(abs, number) for number in range(1000)]
        assert [future.result() for future in futures] == list(range(1000))
        return private_kib(pool.submit(os.getpid).result())

    # What is kept for more tasks at a time than before is kept once.
    taken = [run() for _ in range(4)]
    assert min(later - before for before, later in pairwise(taken)) <= 256

# SPDX-License-Identifier: BSD-3-Clause
"""Tasks that do to their process what a task should not: fork and return twice, exec, close all.

The next task, the neighbours and the user's process must not suffer for it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tasks

import owngil
from harness import processes
from harness.conditions import wait_until
from harness.gate import Gate

pytestmark = pytest.mark.kinds("process", "apart")


@pytest.fixture
def lone() -> Iterator[owngil.Pool]:
    """A pool of one worker: the next task is run by the same process."""
    with owngil.Pool(1) as pool:
        yield pool


# --- fork, and return in both


def test_a_child_that_returns_from_the_task_ends_by_itself(lone: owngil.Pool) -> None:
    child = lone.submit(os.fork).result()
    assert child > 0
    assert lone.submit(_exit_code_of, child).result() == 0
    assert [lone.submit(tasks.echo, number).result() for number in range(300)] == list(range(300))


@pytest.mark.parametrize(
    ("how", "code"),
    [("sys.exit()", 0), ("sys.exit(5)", 5), ("sys.exit('word')", 1), ("1 / 0", 1), ("None", 0)],
)
def test_a_child_ends_as_a_program_would(
    capfd: pytest.CaptureFixture[str], how: str, code: int
) -> None:
    with owngil.Pool(1) as pool:
        child = pool.submit(_fork_and, how).result()
        assert pool.submit(_exit_code_of, child).result() == code
    said = capfd.readouterr().err
    assert ("ZeroDivisionError" in said) == (how == "1 / 0")
    assert ("word" in said) == ("word" in how)


def test_what_a_child_prints_is_not_lost_and_not_printed_twice(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with owngil.Pool(1) as pool:
        child = pool.submit(_fork_and, "print('from the child')").result()
        pool.submit(_exit_code_of, child).result()
    assert capfd.readouterr().out == "from the child\n"


def test_a_child_runs_no_exit_functions_of_its_worker(lone: owngil.Pool, tmp_path: Path) -> None:
    lone.submit(_register, tmp_path / "note").result()
    child = lone.submit(os.fork).result()
    lone.submit(_exit_code_of, child).result()
    assert not (tmp_path / "note").exists()


def test_a_child_that_returns_in_the_middle_of_a_chunk_ends_there(lone: owngil.Pool) -> None:
    children = list(lone.map(_fork_for, range(4), chunksize=4))
    assert len(set(children)) == 4
    assert {lone.submit(_exit_code_of, child).result() for child in children} == {0}


def test_a_child_may_be_forked_while_arguments_are_unpickled(lone: owngil.Pool) -> None:
    assert lone.submit(tasks.echo, _ForksWhenUnpickled()).result() > 0
    assert lone.submit(tasks.echo, 1).result() == 1


def test_a_child_may_be_forked_while_the_result_is_pickled(lone: owngil.Pool) -> None:
    assert lone.submit(_make_one_that_forks_when_pickled).result() > 0
    assert lone.submit(tasks.echo, 1).result() == 1


def test_a_child_that_stays_in_the_task_may_do_what_it_likes(
    lone: owngil.Pool, tmp_path: Path
) -> None:
    child = lone.submit(_fork_and, f"open({str(tmp_path / 'note')!r}, 'w').write('x' * 100_000)")
    lone.submit(_exit_code_of, child.result()).result()
    assert (tmp_path / "note").stat().st_size == 100_000


# --- exec


@pytest.mark.parametrize("program", ["exit 7", "kill -9 $$"])
def test_a_task_that_executes_a_program_dies_as_that_does(lone: owngil.Pool, program: str) -> None:
    error = lone.submit(os.execv, "/bin/sh", ["sh", "-c", program]).exception()
    assert isinstance(error, owngil.WorkerDied)
    assert (error.exitcode, error.signal) in [(7, None), (None, signal.SIGKILL)]
    assert lone.submit(tasks.echo, 1).result() == 1


def test_a_program_that_a_task_has_become_ends_with_the_pool_that_is_killed() -> None:
    pool = owngil.Pool(1)
    pid = pool.submit(os.getpid).result()
    pool.submit(os.execv, "/bin/sleep", ["sleep", "1000"])
    wait_until(lambda: (process := processes.read(pid)) and process.name == "sleep")
    pool.kill_workers()
    wait_until(lambda: processes.read(pid) is None)
    pool.shutdown()


# --- descriptors


def test_a_task_that_closes_every_descriptor_has_its_result_and_its_worker_is_replaced(
    lone: owngil.Pool, tmp_path: Path
) -> None:
    before = lone.submit(os.getpid).result()
    assert lone.submit(_close_everything, tmp_path / "file", 10).result() == b"x" * 10
    assert lone.submit(os.getpid).result() != before
    assert (tmp_path / "file").read_text() == "mine"


def test_whoever_waits_for_it_in_another_way_hears_of_it(lone: owngil.Pool, tmp_path: Path) -> None:
    called = threading.Event()
    lone.submit(_close_everything, tmp_path / "file", 10).add_done_callback(lambda _: called.set())
    assert called.wait(30)
    assert lone.submit(tasks.echo, 1).result() == 1


def test_a_large_result_comes_too_or_is_an_error_and_goes_into_nobodys_file(
    lone: owngil.Pool, tmp_path: Path
) -> None:
    """What it opens has the number that the memory for results had. Linux 5.14 does without."""
    future = lone.submit(_close_everything, tmp_path / "file", 10_000_000)
    error = future.exception()
    assert isinstance(error, MemoryError) or future.result() == b"x" * 10_000_000
    assert lone.submit(tasks.echo, 1).result() == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_in_map_the_items_behind_such_a_one_run_elsewhere(
    lone: owngil.Pool, tmp_path: Path
) -> None:
    results = lone.map(_close_everything, [tmp_path / "file"] * 4, range(1, 5), chunksize=1)
    assert list(results) == [b"x", b"xx", b"xxx", b"xxxx"]


# --- signals


def test_handlers_that_a_task_replaces_are_there_for_the_next_and_harm_nobody(
    lone: owngil.Pool,
) -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGIO, signal.SIGHUP]
    lone.submit(_ignore, numbers).result()
    assert lone.submit(_handlers, numbers).result() == [signal.SIG_IGN] * len(numbers)
    assert lone.submit(tasks.echo, 1).result() == 1


def test_a_worker_that_ignores_every_signal_ends_with_the_pool_and_can_be_killed() -> None:
    with owngil.Pool(1) as pool:
        pool.submit(_ignore, list(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
        pid = pool.submit(os.getpid).result()
    wait_until(lambda: processes.read(pid) is None)


def test_what_a_stopped_worker_was_given_next_runs_elsewhere(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(gate.enter)
    ((pid, _),) = gate.wait_for_entered()
    os.kill(pid, signal.SIGSTOP)
    assert [pool.submit(tasks.echo, number).result() for number in range(50)] == list(range(50))
    assert list(pool.map(tasks.echo, range(50), chunksize=1)) == list(range(50))
    gate.open()
    assert not held.done()
    os.kill(pid, signal.SIGCONT)
    assert held.result() == pid


# --- what a process has: the next task of the worker sees what the last one left


def test_cwd_environment_and_umask_stay_as_a_task_leaves_them_until_the_user_changes_them(
    lone: owngil.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the standard pool; what the user changes reaches the workers, umask apart."""
    mine = lone.submit(_surroundings).result()
    lone.submit(_change_surroundings, tmp_path).result()
    theirs = lone.submit(_surroundings).result()
    assert theirs == (str(tmp_path), "theirs", 0o027)
    monkeypatch.setenv("OWNGIL_TEST_WORD", "mine")
    assert lone.submit(_surroundings).result() == (mine[0], "mine", 0o027)


def test_another_worker_sees_nothing_of_it(tmp_path: Path) -> None:
    with owngil.Pool(1) as one, owngil.Pool(1) as other:
        before = other.submit(_surroundings).result()
        one.submit(_change_surroundings, tmp_path).result()
        assert other.submit(_surroundings).result() == before


# --- what a task leaves behind


def test_daemon_threads_that_a_task_leaves_run_on_and_hold_up_nobody(lone: owngil.Pool) -> None:
    lone.submit(_leave_thread, True).result()
    assert lone.submit(_count_threads).result() == 2
    assert lone.submit(tasks.echo, 1).result() == 1


def test_threads_that_a_task_leaves_are_cut_off_by_a_kill_only() -> None:
    pool = owngil.Pool(1)
    pid = pool.submit(_leave_thread, False).result()
    assert pool.submit(_count_threads).result() == 2
    pool.shutdown(wait=False)
    wait_until(lambda: _is_leaving(pid), "its main thread waits for the other")
    pool.kill_workers()
    wait_until(lambda: processes.read(pid) is None)
    pool.shutdown()


def _exit_code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _fork_and(what: str) -> int:
    child = os.fork()
    if child == 0:
        exec(what, {"sys": sys})
    return child


def _fork_for(_: object) -> int:
    return os.fork()


def _register(path: Path) -> None:
    import atexit

    atexit.register(path.touch)


class _ForksWhenUnpickled:
    def __reduce__(self) -> tuple[Callable[[], int], tuple[()]]:
        return os.fork, ()


class _ForksWhenPickled:
    def __reduce__(self) -> tuple[Callable[[int], int], tuple[int]]:
        return int, (os.fork(),)


def _make_one_that_forks_when_pickled() -> Any:
    return _ForksWhenPickled()


def _close_everything(path: Path, size: int) -> bytes:
    os.closerange(0, 4096)
    for _ in range(20):  # so that each number is taken that the worker has had
        file = os.open(path, os.O_CREAT | os.O_RDWR)
    os.pwrite(file, b"mine", 0)
    return b"x" * size


def _ignore(numbers: list[signal.Signals]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _handlers(numbers: list[signal.Signals]) -> list[object]:
    return [signal.getsignal(number) for number in numbers]


def _surroundings() -> tuple[str, str | None, int]:
    umask = os.umask(0)
    os.umask(umask)
    return os.getcwd(), os.environ.get("OWNGIL_TEST_WORD"), umask


def _change_surroundings(folder: Path) -> None:
    os.chdir(folder)
    os.environ["OWNGIL_TEST_WORD"] = "theirs"
    os.umask(0o027)


def _leave_thread(daemon: bool) -> int:
    threading.Thread(target=time.sleep, args=(1000,), daemon=daemon).start()
    return os.getpid()


def _count_threads() -> int:
    return threading.active_count()


def _is_leaving(pid: int) -> bool:
    """Whether Python waits for threads: the worker's loop has been left, and its channel."""
    return "owngil-channel" not in Path(f"/proc/{pid}/maps").read_text()

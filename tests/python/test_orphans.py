# SPDX-License-Identifier: BSD-3-Clause
"""What a worker leaves behind is killed once it is gone, or kept until the program ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tasks

import owngil
from harness import processes, scripts
from harness.conditions import wait_until

pytestmark = pytest.mark.kinds(
    "process"
)  # an interpreter's death is its host's: test_interpreter_kind.py


def start_program() -> int:
    return subprocess.Popen(["sleep", "1000"]).pid


def start_program_in_a_session_of_its_own() -> int:
    return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid


def start_program_without_environment_and_descriptors() -> int:
    return subprocess.Popen(
        ["/bin/sh", "-c", "exec sleep 1000"], env={"PATH": "/bin:/usr/bin"}, start_new_session=True
    ).pid


def start_daemon() -> int:
    """Forked twice, of a session of its own, and nothing else is run: it never was a program."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writer, str(os.getpid()).encode())
            signal.pause()
        os._exit(0)
    os.waitpid(child, 0)
    pid = int(os.read(reader, 100))
    os.close(reader)
    os.close(writer)
    return pid


def start_family() -> int:
    """A program whose child ignores what it can; the pid is the child's."""
    source = "trap '' TERM HUP INT; setsid sleep 1000 & echo $!; wait"
    program = subprocess.Popen(["sh", "-c", source], stdout=subprocess.PIPE)
    assert program.stdout is not None
    return int(program.stdout.readline())


STARTS: list[Callable[[], int]] = [
    start_program,
    start_program_in_a_session_of_its_own,
    start_program_without_environment_and_descriptors,
    start_daemon,
    start_family,
]
EACH = pytest.mark.parametrize("start", STARTS, ids=lambda start: start.__name__[6:])


@pytest.fixture
def pool() -> Iterator[owngil.Pool]:
    with owngil.Pool(1) as pool:
        yield pool


def is_gone(pid: int) -> bool:
    process = processes.read(pid)
    return process is None or process.state == "Z"


@EACH
def test_what_a_worker_started_is_killed_when_the_worker_dies(
    pool: owngil.Pool, start: Callable[[], int]
) -> None:
    pid = pool.submit(start).result()
    assert not is_gone(pid)
    with pytest.raises(owngil.WorkerDied):
        pool.submit(tasks.end_by_signal).result()
    wait_until(lambda: is_gone(pid), f"{pid} has been killed")
    assert pool.submit(tasks.echo, 1).result() == 1


@EACH
def test_what_a_worker_started_is_killed_when_the_pool_is_shut_down(
    start: Callable[[], int],
) -> None:
    with owngil.Pool(1) as pool:
        pid = pool.submit(start).result()
    wait_until(lambda: is_gone(pid), f"{pid} has been killed")


def test_what_a_worker_started_is_killed_when_it_is_recycled() -> None:
    with owngil.Pool(1, max_tasks_per_child=1) as pool:
        pid = pool.submit(start_daemon).result()
        assert pool.submit(tasks.echo, 1).result() == 1
        wait_until(lambda: is_gone(pid), f"{pid} has been killed")


@pytest.mark.parametrize("start", ["template", "spawn"])
def test_what_another_worker_started_lives_on(start: str) -> None:
    with owngil.Pool(1, start=start) as first, owngil.Pool(1, start=start) as second:
        daemon = first.submit(start_daemon).result()
        program = first.submit(start_program).result()
        victim = second.submit(start_daemon).result()
        with pytest.raises(owngil.WorkerDied):
            second.submit(tasks.end_by_signal).result()
        wait_until(lambda: is_gone(victim), f"{victim} has been killed")
        assert not is_gone(daemon)
        assert not is_gone(program)
        assert first.submit(tasks.echo, 1).result() == 1


def test_a_daemon_that_ends_harms_neither_its_worker_nor_what_that_has_started(
    pool: owngil.Pool,
) -> None:
    """The guardian reaps it, and it bears the mark of a worker that lives."""
    worker = pool.submit(os.getpid).result()
    daemons = [pool.submit(start_daemon).result() for _ in range(2)]
    os.kill(daemons[0], signal.SIGKILL)
    wait_until(lambda: processes.read(daemons[0]) is None, "the guardian has reaped it")
    with owngil.Pool(1) as other, pytest.raises(owngil.WorkerDied):
        other.submit(tasks.end_by_signal).result()
    assert not is_gone(daemons[1])
    assert pool.submit(os.getpid).result() == worker


def test_what_the_users_process_started_lives_on() -> None:
    mine = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        with owngil.Pool(1) as pool:
            theirs = pool.submit(start_program).result()
        wait_until(lambda: is_gone(theirs), f"{theirs} has been killed")
        assert mine.poll() is None
    finally:
        mine.kill()
        mine.wait()


def test_a_helper_that_ends_by_itself_is_given_the_time_for_it(tmp_path: Path) -> None:
    """As multiprocessing's resource tracker does, to remove what was not removed."""
    with owngil.Pool(1) as pool:
        pid = pool.submit(_start_helper, tmp_path / "note").result()
    wait_until(lambda: is_gone(pid), f"{pid} has ended")
    assert (tmp_path / "note").read_text() == "in order"


def test_orphans_may_be_kept_until_the_program_ends(tmp_path: Path) -> None:
    source = """
        import os, subprocess, sys, owngil

        def start():
            return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid

        with owngil.Pool(1, orphans="keep") as keeping, owngil.Pool(1) as killing:
            kept = keeping.submit(start).result()
            for pool in (keeping, killing):
                try: pool.submit(os._exit, 1).result()
                except owngil.WorkerDied: pass
            kept_too = keeping.submit(start).result()
            killed = killing.submit(start).result()
        print(kept, kept_too, killed, flush=True)
        open(sys.argv[1]).read()
    """
    os.mkfifo(tmp_path / "fifo")
    command = [sys.executable, "-c", scripts.dedent(source), tmp_path / "fifo"]
    with scripts.Program(command) as program:
        kept, kept_too, killed = (int(word) for word in wait_until(program.out).split())
        wait_until(lambda: is_gone(killed), f"{killed} has been killed")
        assert not is_gone(kept)
        assert not is_gone(kept_too)
        (tmp_path / "fifo").write_text("go on")
        assert program.finish().code == 0
    wait_until(lambda: is_gone(kept) and is_gone(kept_too), "they end with the program")


def test_a_nested_pool_ends_its_own_when_the_worker_that_has_it_dies(pool: owngil.Pool) -> None:
    worker, daemon = pool.submit(_use_pool).result()
    with pytest.raises(owngil.WorkerDied):
        pool.submit(tasks.end_by_signal).result()
    wait_until(lambda: is_gone(worker) and is_gone(daemon), "the inner worker and its daemon ended")


@pytest.mark.parametrize("orphans", ["leave", None, 1])
def test_what_else_is_asked_for_is_refused(orphans: object) -> None:
    with pytest.raises(ValueError, match="orphans must be one of kill, keep"):
        owngil.Pool(1, orphans=orphans)  # type: ignore[arg-type]


def test_limits_that_a_program_knows_are_left_alone(pool: owngil.Pool) -> None:
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    numbers = [getattr(resource, name) for name in names]
    mine = [resource.getrlimit(number) for number in numbers]
    assert [pool.submit(resource.getrlimit, number).result() for number in numbers] == mine


def _start_helper(note: Path) -> int:
    source = "read end; printf 'in order' > $0"
    helper = subprocess.Popen(["sh", "-c", source, note], stdin=subprocess.PIPE)
    _kept.append(helper)
    return helper.pid


_kept: list[object] = []


def _use_pool() -> tuple[int, int]:
    inner = owngil.Pool(1)
    _kept.append(inner)
    return inner.submit(os.getpid).result(), inner.submit(start_daemon).result()

# SPDX-License-Identifier: BSD-3-Clause
"""Guardian, template, user's process and starting workers may be killed at any moment.

A process that is stopped first stands where it is when it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tasks

import owngil
from harness import processes, scripts
from harness.conditions import wait_until
from harness.gate import Gate
from harness.leaks import TEMPLATE_NAME

pytestmark = pytest.mark.kinds(
    "process"
)  # an interpreter's death is its host's: test_interpreter_kind.py


def guardian() -> int:
    """What it starts looks like it for a moment."""
    found: list[processes.Process] = []

    def is_alone() -> bool:
        found[:] = processes.guardians(os.getpid())
        return len(found) == 1

    wait_until(is_alone, "there is a guardian")
    return found[0].pid


def templates() -> list[int]:
    found = processes.descendants(guardian())
    return [process.pid for process in found if process.name == TEMPLATE_NAME]


def victims(who: str) -> list[int]:
    return {"guardian": [guardian()], "template": templates()}[who]


def stop(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)

    def all_stand() -> bool:
        return all((process := processes.read(pid)) and process.state == "T" for pid in pids)

    wait_until(all_stand, f"{pids} stand still")


def kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all(is_gone(pid) for pid in pids), f"{pids} are gone")


def is_gone(pid: int) -> bool:
    process = processes.read(pid)
    return process is None or process.state == "Z"


WHO = pytest.mark.parametrize("who", ["guardian", "template"])
STARTS = pytest.mark.parametrize("start", ["template", "spawn"])


@pytest.fixture(autouse=True, scope="module")
def guardian_is_there_when_what_is_left_is_counted() -> Iterator[None]:
    yield
    owngil.Pool(1).shutdown()


@pytest.fixture
def former() -> None:
    """A pool has been there, so that guardian and template exist."""
    with owngil.Pool(1) as pool:
        pool.submit(tasks.echo, 1).result()
    wait_until(templates, "there is a template")


@WHO
def test_killed_while_all_are_idle_they_are_replaced_when_needed(
    pool: owngil.Pool, who: str
) -> None:
    before = [pool.submit(os.getpid).result() for _ in range(2)]
    kill(victims(who))
    assert pool.submit(os.getpid).result() in before
    for _ in range(3):
        assert isinstance(pool.submit(tasks.end_by_signal).exception(), owngil.WorkerDied)
    assert [pool.submit(tasks.echo, number).result() for number in range(20)] == list(range(20))


@WHO
def test_killed_while_tasks_run_no_task_notices(pool: owngil.Pool, gate: Gate, who: str) -> None:
    held = [pool.submit(gate.enter) for _ in range(2)]
    waiting = [pool.submit(tasks.echo, number) for number in range(20)]
    gate.wait_for_entered(2)
    kill(victims(who))
    gate.open()
    assert all(future.result() > 0 for future in held)
    assert [future.result() for future in waiting] == list(range(20))


@WHO
@STARTS
@pytest.mark.usefixtures("former")
def test_killed_with_launches_in_hand_these_are_tried_again(who: str, start: str) -> None:
    stopped = victims(who)
    stop(stopped)
    with owngil.Pool(2, start=start) as pool:
        futures = [pool.submit(tasks.echo, number) for number in range(20)]
        kill(stopped)
        assert [future.result() for future in futures] == list(range(20))


@WHO
@pytest.mark.usefixtures("former")
def test_killed_with_launches_in_hand_a_pool_that_is_shut_down_ends(who: str) -> None:
    stopped = victims(who)
    stop(stopped)
    pool = owngil.Pool(2)
    future = pool.submit(tasks.echo, 1)
    pool.shutdown(wait=False)
    kill(stopped)
    pool.shutdown()
    assert future.result(timeout=0) == 1


@WHO
@pytest.mark.usefixtures("former")
def test_with_launches_in_hand_that_never_come_shutdown_does_not_wait_for_ever(who: str) -> None:
    stopped = victims(who)
    stop(stopped)
    pool = owngil.Pool(2)
    future = pool.submit(tasks.echo, 1)
    pool.shutdown(timeout=0)
    assert future.cancelled()
    kill(stopped)
    pool.shutdown()


@WHO
def test_killed_during_shutdown_the_pool_still_ends(gate: Gate, who: str) -> None:
    pool = owngil.Pool(2)
    held = [pool.submit(gate.enter) for _ in range(2)]
    waiting = [pool.submit(tasks.echo, number) for number in range(20)]
    gate.wait_for_entered(2)
    pool.shutdown(wait=False)
    kill(victims(who))
    gate.open()
    pool.shutdown()
    assert all(future.result(timeout=0) > 0 for future in held)
    assert [future.result(timeout=0) for future in waiting] == list(range(20))


def test_killed_in_a_row_they_are_replaced_each_time() -> None:
    for number in range(10):
        with owngil.Pool(2) as pool:
            future = pool.submit(tasks.add, number)
            kill(victims("guardian" if number % 2 else "template"))
            assert future.result() == number + 1


@STARTS
def test_a_worker_that_is_killed_while_it_starts_is_replaced(start: str, tmp_path: Path) -> None:
    """It is held where Python looks for sitecustomize, or in the template's first fork."""
    (tmp_path / "sitecustomize.py").write_text(
        scripts.dedent("""
            import os, signal, sys
            folder = os.path.dirname(__file__)

            def hold():
                if os.path.exists(os.path.join(folder, "hold")):
                    with open(os.path.join(folder, "held"), "w") as file:
                        file.write(f"{os.getpid()}\\n")
                    signal.pause()

            role = sys.orig_argv[-1]
            if role == "worker": hold()
            if role == "template": os.register_at_fork(after_in_child=hold)
        """)
    )
    (tmp_path / "hold").touch()
    source = f"""
        import os, signal, sys, owngil
        folder = sys.argv[1]
        os.mkfifo(os.path.join(folder, "held"))
        with owngil.Pool(1, start={start!r}) as pool:
            future = pool.submit(pow, 2, 3)
            pid = int(open(os.path.join(folder, "held")).read())
            os.remove(os.path.join(folder, "hold"))
            os.kill(pid, signal.SIGKILL)
            print(future.result(), pool.submit(os.getpid).result() != pid)
    """
    done = scripts.run_code(source, str(tmp_path), env={"PYTHONPATH": str(tmp_path)})
    assert done.lines == ["8 True"]


def test_a_program_that_is_killed_while_its_workers_start_leaves_nothing() -> None:
    done = killed_program(
        """
        with owngil.Pool(1) as pool: pool.submit(pow, 2, 3).result()
        stopped = [int(pid) for pid in children_of(_core.guardian_pid())]
        for pid in stopped: os.kill(pid, signal.SIGSTOP)
        pools = [owngil.Pool(2), owngil.Pool(2, start="spawn")]
        futures = [pool.submit(pow, 2, 3) for pool in pools]
        """
    )
    wait_until(lambda: all(map(is_gone, done)), f"{done} have ended")


def test_a_program_that_is_killed_during_shutdown_leaves_nothing() -> None:
    done = killed_program(
        """
        import time
        pool = owngil.Pool(2)
        futures = [pool.submit(time.sleep, 1000) for _ in range(2)]
        while not all(future.running() for future in futures): pass
        pool.shutdown(wait=False)
        """
    )
    wait_until(lambda: all(map(is_gone, done)), f"{done} have ended")


def killed_program(body: str) -> list[int]:
    """The pids of all that there was when it killed itself."""
    prelude = """
        import os, signal, owngil
        from owngil import _core
        def children_of(pid):
            return open(f"/proc/{pid}/task/{pid}/children").read().split()
    """
    end = """
        guardian = _core.guardian_pid()
        print(os.getpid(), guardian, *children_of(guardian), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    source = "".join(map(scripts.dedent, (prelude, body, end)))
    with scripts.Program([sys.executable, "-c", source]) as program:
        return [int(word) for word in program.finish().out.split()]

# SPDX-License-Identifier: BSD-3-Clause
"""Signals of the user's process are the user's: handlers, wait(), subprocess, and its group's."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from harness import processes, scripts
from harness.conditions import wait_until


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGQUIT", "SIGTSTP"])
def test_a_signal_to_the_group_that_the_user_handles_touches_no_worker(name: str) -> None:
    source = f"""
        import os, signal, time, owngil
        def task():
            end = time.monotonic() + 0.5
            while time.monotonic() < end: pass
            return os.getpid()
        seen = []
        signal.signal(signal.{name}, lambda *_: seen.append(1))
        with owngil.Pool(2) as pool:
            futures = [pool.submit(task) for _ in range(2)]
            while not all(future.running() for future in futures): pass
            print("ready", flush=True)
            while not seen: pass
            pids = {{future.result() for future in futures}}
            print(pids == {{worker.pid for worker in pool.stats().workers}})
            print(pool.submit(pow, 2, 3).result(), pool.stats().restarts)
    """
    command = [sys.executable, "-c", scripts.dedent(source)]
    with scripts.Program(command, own_session=True) as program:
        wait_until(lambda: "ready" in program.out(), "the program is ready")
        os.killpg(program.pid, getattr(signal, name))
        done = program.finish()
    assert (done.code, done.err, done.lines) == (0, "", ["ready", "True", "8 0"])


def test_wait_and_subprocess_see_the_users_children_and_no_others() -> None:
    done = scripts.run_code("""
        import os, signal, subprocess, owngil
        children = []
        signal.signal(signal.SIGCHLD, lambda *_: children.append(1))
        with owngil.Pool(2, max_tasks_per_child=3) as pool:
            mine = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 5"], {})
            futures = [pool.submit(os._exit, 7) for _ in range(3)]
            print(sum(isinstance(future.exception(), owngil.WorkerDied) for future in futures))
            list(pool.map(abs, range(20), chunksize=1))
            pid, status = os.wait()
            print(pid == mine, os.waitstatus_to_exitcode(status))
            print(subprocess.run(["sh", "-c", "exit 6"]).returncode)
            try: os.wait()
            except ChildProcessError: print("no other")
        print(len(children))
    """)
    assert done.lines == ["3", "True 5", "6", "no other", "2"]


def test_alarms_come_while_a_result_is_waited_for_and_reach_no_worker() -> None:
    done = scripts.run_code("""
        import signal, time, owngil
        count = 0
        def handle(*_):
            global count
            count += 1
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        with owngil.Pool(2) as pool:
            print(pool.submit(time.sleep, 0.3).result())
            print(pool.submit(signal.getitimer, signal.ITIMER_REAL).result())
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(count >= 20)
    """)
    assert done.lines == ["None", "(0.0, 0.0)", "True"]


def test_the_users_wakeup_descriptor_and_mask_are_left_alone() -> None:
    done = scripts.run_code("""
        import os, signal, owngil
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        with owngil.Pool(2) as pool:
            print(pool.submit(pow, 2, 3).result())
            print(pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result())
        print(signal.set_wakeup_fd(-1) == writer)
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGUSR2})
    """)
    assert done.lines == ["8", "set()", "True", "True"]


def test_a_program_that_is_terminated_takes_its_workers_with_it() -> None:
    source = """
        import time, owngil
        with owngil.Pool(2) as pool:
            futures = [pool.submit(time.sleep, 1000) for _ in range(2)]
            while not all(future.running() for future in futures): pass
            print("ready", flush=True)
            futures[0].result()
    """
    with scripts.Program([sys.executable, "-c", scripts.dedent(source)]) as program:
        wait_until(lambda: "ready" in program.out(), "the program is ready")
        family = processes.family(program.pid)
        program.kill(signal.SIGTERM)
        assert program.finish().code == -signal.SIGTERM
    wait_until(lambda: not any(map(processes.is_alive, family)), "all have ended")

# SPDX-License-Identifier: BSD-3-Clause
"""Ctrl-C: one KeyboardInterrupt in the user's program, nothing from the workers, no hang.

Who catches it goes on, and so do the tasks. Whoever leaves `with` or the program by it ends them.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import processes, scripts
from harness.conditions import wait_until

WAITS = {
    "result": "pool.submit(time.sleep, 600).result()",
    "result with a timeout": "pool.submit(time.sleep, 600).result(timeout=600)",
    "map": "list(pool.map(time.sleep, [600] * 10, chunksize=1))",
    "wait": "concurrent.futures.wait([pool.submit(time.sleep, 600)])",
    "as_completed": "list(concurrent.futures.as_completed([pool.submit(time.sleep, 600)]))",
    "leaving the with block": "pool.submit(time.sleep, 600)",
}


# A program may be interrupted alone, or with its whole group, as by a terminal or by Jupyter.
TO_GROUP_OR_ALONE = pytest.mark.parametrize("whom", ["group", "alone"])


def run_and_interrupt(
    body: str, ready: str = "ready", whom: str = "group", command: Sequence[str] = ()
) -> scripts.Finished:
    """Interrupt the program once it says that it is ready."""
    command = [*command, sys.executable, "-c", scripts.dedent(body)]
    with scripts.Program(command, own_session=True) as program:
        wait_until(lambda: ready in program.out(), "the program is ready")
        family = processes.family(program.pid)
        (os.killpg if whom == "group" else os.kill)(program.pid, signal.SIGINT)
        done = program.finish()
    wait_until(lambda: not any(map(processes.is_alive, family)), "all have ended")
    return done


@TO_GROUP_OR_ALONE
@pytest.mark.parametrize("wait", WAITS)
def test_an_interrupt_ends_the_program_with_one_traceback(wait: str, whom: str) -> None:
    done = run_and_interrupt(
        f"""
        import concurrent.futures, threading, time, owngil
        pool = owngil.Pool(2)
        pool.submit(pow, 2, 3).result()
        threading.Timer(0.2, print, ["ready"], {{"flush": True}}).start()
        try:
            with pool:
                {WAITS[wait]}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            raise
    """,
        whom=whom,
    )
    assert done.lines == ["ready", "interrupted"]
    assert done.err.count("Traceback") == 1
    assert done.err.strip().endswith("KeyboardInterrupt")
    assert done.code == -signal.SIGINT


def test_an_interrupt_can_be_caught_and_the_pool_goes_on() -> None:
    done = run_and_interrupt("""
        import sys, time, owngil
        with owngil.Pool(2) as pool:
            pool.submit(pow, 2, 3).result()
            slow = pool.submit(time.sleep, 1)
            print("ready", flush=True)
            try:
                while True: pool.submit(pow, 2, 3).result()
            except KeyboardInterrupt:
                print("caught", flush=True)
            print(pool.submit(pow, 2, 5).result())
    """)
    assert done.lines == ["ready", "caught", "32"]
    assert done.code == 0
    assert not done.err


@TO_GROUP_OR_ALONE
def test_tasks_do_not_notice_an_interrupt(whom: str) -> None:
    done = run_and_interrupt(
        """
        import signal, time, owngil
        def task():
            end = time.monotonic() + 0.5
            while time.monotonic() < end: pass
            return "undisturbed"
        with owngil.Pool(2) as pool:
            futures = [pool.submit(task) for _ in range(2)]
            while not all(future.running() for future in futures): pass
            signal.signal(signal.SIGINT, lambda *_: print("handled", flush=True))
            print("ready", flush=True)
            print(*[future.result() for future in futures])
            print(pool.submit(pow, 2, 5).result())
        """,
        whom=whom,
    )
    assert done.lines == ["ready", "handled", "undisturbed undisturbed", "32"]
    assert not done.err
    assert done.code == 0


@pytest.mark.parametrize("start", ["template", "spawn"])
def test_an_interrupt_while_workers_start_is_not_theirs(start: str) -> None:
    """As early as can be, so before Python in them could have a handler."""
    done = run_and_interrupt(f"""
        import os, signal, owngil
        handled = []
        signal.signal(signal.SIGINT, lambda *_: handled.append(1))
        print("ready", flush=True)
        with owngil.Pool(2, start={start!r}) as pool:
            futures = [pool.submit(pow, 2, n) for n in range(20)]
            while not handled: pass
            print(sum(future.result() for future in futures))
    """)
    assert done.lines == ["ready", str(2**20 - 1)]
    assert not done.err


def test_a_task_may_be_interrupted_by_its_own_hand() -> None:
    done = scripts.run_code("""
        import os, signal, subprocess, time, owngil
        def interrupt_itself():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(600)
        def interrupt_a_program():
            program = subprocess.Popen(["sleep", "600"])
            program.send_signal(signal.SIGINT)
            return program.wait()
        with owngil.Pool(1) as pool:
            print(type(pool.submit(interrupt_itself).exception()).__name__)
            print(pool.submit(interrupt_a_program).result())
    """)
    assert done.lines == ["KeyboardInterrupt", "-2"]


@TO_GROUP_OR_ALONE
def test_an_interrupt_that_leaves_the_program_ends_the_workers_of_an_open_pool(whom: str) -> None:
    done = run_and_interrupt(
        """
        import atexit, time, owngil
        pool = owngil.Pool(1)
        future = pool.submit(time.sleep, 600)
        waiting = pool.submit(time.sleep, 600)
        atexit.register(lambda: print(type(future.exception()).__name__, waiting.cancelled()))
        while not future.running(): pass
        print("ready", flush=True)
        future.result()
        """,
        whom=whom,
    )
    assert done.lines == ["ready", "WorkerDied True"]
    assert done.err.count("Traceback") == 1
    assert done.err.strip().endswith("KeyboardInterrupt")
    assert done.code == -signal.SIGINT


@TO_GROUP_OR_ALONE
def test_an_interrupt_ends_the_wait_at_the_interpreters_exit(whom: str) -> None:
    done = run_and_interrupt(
        """
        import atexit, threading, time, owngil
        pool = owngil.Pool(1)
        future = pool.submit(time.sleep, 600)
        atexit.register(lambda: print(type(future.exception()).__name__))
        def tell():
            try:
                while True: pool.submit(pow, 2, 3).cancel()
            except RuntimeError:
                print("ready", flush=True)  # it is refused: the exit waits
        while not future.running(): pass
        threading.Thread(target=tell).start()
        """,
        whom=whom,
    )
    assert done.lines == ["ready", "WorkerDied"]
    assert done.err.count("Traceback") == 1
    assert "KeyboardInterrupt" in done.err
    assert done.code == -signal.SIGINT


def test_a_pool_that_nobody_holds_is_ended_too() -> None:
    done = run_and_interrupt("""
        import time, owngil
        future = owngil.Pool(1).submit(time.sleep, 600)
        while not future.running(): pass
        print("ready", flush=True)
        future.result()
    """)
    assert done.lines == ["ready"]
    assert done.code == -signal.SIGINT


def test_callbacks_learn_of_the_end_and_a_second_interrupt_is_not_needed() -> None:
    done = run_and_interrupt("""
        import threading, time, owngil
        with owngil.Pool(1) as pool:
            future = pool.submit(time.sleep, 600)
            future.add_done_callback(lambda f: print(type(f.exception()).__name__, flush=True))
            while not future.running(): pass
            print("ready", flush=True)
            threading.Event().wait()
    """)
    assert done.lines == ["ready", "WorkerDied"]
    assert done.code == -signal.SIGINT


def test_a_callback_that_blocks_does_not_hold_up_the_end() -> None:
    done = run_and_interrupt("""
        import threading, time, owngil
        with owngil.Pool(2) as pool:
            future = pool.submit(pow, 2, 3)
            future.add_done_callback(lambda f: threading.Event().wait())
            future.result()
            print("ready", flush=True)
            pool.submit(time.sleep, 600).result()
    """)
    assert done.lines == ["ready"]
    assert done.code == -signal.SIGINT


def test_an_interrupt_at_the_exit_ends_a_program_whose_generator_holds_its_pool_open() -> None:
    done = run_and_interrupt("""
        import time, owngil
        def pools():
            with owngil.Pool(2) as pool:
                yield pool
        open_ = pools()
        future = next(open_).submit(time.sleep, 600)
        while not future.running(): pass
        print("ready", flush=True)
    """)
    assert done.lines == ["ready"]
    assert done.code == -signal.SIGINT


def test_daemon_threads_that_wait_for_results_do_not_crash_the_end() -> None:
    """They print nothing: Python itself aborts if a daemon thread is ended while it prints."""
    done = run_and_interrupt("""
        import contextlib, threading, time, owngil
        from concurrent.futures import CancelledError
        def wait(future):
            with contextlib.suppress(CancelledError):
                future.exception()
        with owngil.Pool(2) as pool:
            futures = [pool.submit(time.sleep, 600) for _ in range(8)]
            for future in futures:
                threading.Thread(target=wait, args=(future,), daemon=True).start()
            while not futures[0].running(): pass
            print("ready", flush=True)
            futures[0].result()
    """)
    assert done.lines == ["ready"]
    assert "Fatal" not in done.err
    assert done.code == -signal.SIGINT


def test_several_interrupts_end_the_program_just_the_same() -> None:
    """As `timeout` does, which signals the program and then its group, the program included."""
    source = """
        import time, owngil
        with owngil.Pool(2) as pool:
            future = pool.submit(time.sleep, 600)
            while not future.running(): pass
            print("ready", flush=True)
            future.result()
    """
    command = [sys.executable, "-c", scripts.dedent(source)]
    with scripts.Program(command, own_session=True) as program:
        wait_until(lambda: "ready" in program.out(), "the program is ready")
        family = processes.family(program.pid)
        while not program.has_ended():
            program.kill(signal.SIGINT)
        done = program.finish()
    assert done.code == -signal.SIGINT
    wait_until(lambda: not any(map(processes.is_alive, family)), "all have ended")


@pytest.mark.skipif(shutil.which("timeout") is None, reason="there is no timeout(1) here")
@pytest.mark.parametrize("number", ["INT", "TERM", "KILL"])
def test_timeout_ends_program_workers_and_what_tasks_have_started(
    number: str, tmp_path: Path
) -> None:
    source = """
        import os, subprocess, sys, owngil
        def task(path):
            program = subprocess.Popen(["sleep", "1000"])
            with open(path, "w") as file: file.write(f"{os.getpid()} {program.pid}")
            program.wait()
        with owngil.Pool(1) as pool:
            os.mkfifo(sys.argv[1])
            future = pool.submit(task, sys.argv[1])
            print(open(sys.argv[1]).read(), flush=True)
            future.result()
    """
    command = [sys.executable, "-c", scripts.dedent(source), str(tmp_path / "fifo")]
    with scripts.Program(["timeout", "--signal", number, "3600", *command]) as program:
        pids = [int(word) for word in wait_until(program.out).split()]
        program.kill(signal.SIGALRM)  # its timer's: the time is over
        program.finish()
    wait_until(lambda: not any(map(processes.read, pids)), f"{pids} have ended")


def test_a_signal_handler_runs_while_a_result_is_waited_for() -> None:
    assert scripts.run_code("""
        import signal, time, owngil
        with owngil.Pool(1) as pool:
            signal.signal(signal.SIGALRM, lambda *_: print("handled", flush=True))
            future = pool.submit(time.sleep, 1)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            future.result()
            print("done")
    """).lines == ["handled", "done"]


def test_a_handler_that_raises_ends_the_waiting() -> None:
    assert scripts.run_code("""
        import os, signal, time, owngil
        class Enough(Exception): pass
        def handle(*_): raise Enough
        with owngil.Pool(1) as pool:
            pool.submit(pow, 2, 3).result()
            signal.signal(signal.SIGALRM, handle)
            future = pool.submit(time.sleep, 1)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            try: future.result()
            except Enough: print("enough", future.done())
    """).lines == ["enough False"]


# --- in a session, such as Jupyter's, an interrupt ends a command

SESSION = """
    import os, sys, time, owngil
    sys.ps1 = ">>> "  # as an interactive session has one
    def run(command):
        try:
            exec(command, globals())
        except BaseException as error:
            sys.last_exc = error
            print(type(error).__name__, flush=True)
"""


@TO_GROUP_OR_ALONE
def test_in_a_session_an_interrupted_with_block_has_ended_its_workers(whom: str) -> None:
    done = run_and_interrupt(
        scripts.dedent(SESSION)
        + scripts.dedent("""
            run('''
            with owngil.Pool(1) as pool:
                pid = pool.submit(os.getpid).result()
                future = pool.submit(time.sleep, 600)
                while not future.running(): pass
                print("ready", flush=True)
                future.result()
            '''.replace(" " * 12, ""))
            print(type(future.exception(0)).__name__)
            run("with owngil.Pool(1) as pool: print(pool.submit(pow, 2, 3).result())")
        """),
        whom=whom,
    )
    assert done.lines == ["ready", "KeyboardInterrupt", "WorkerDied", "8"]
    assert not done.err
    assert done.code == 0


@TO_GROUP_OR_ALONE
def test_in_a_session_the_tasks_of_an_interrupted_command_go_on_and_the_exit_waits(
    whom: str,
) -> None:
    done = run_and_interrupt(
        scripts.dedent(SESSION)
        + scripts.dedent("""
            def task(): time.sleep(0.5); print("done", flush=True); return 1
            pool = owngil.Pool(1)
            futures = [pool.submit(task) for _ in range(2)]
            while not futures[0].running(): pass
            print("ready", flush=True)
            run("futures[0].result()")
            run("print(futures[0].result(), flush=True)")
        """),
        whom=whom,
    )
    assert done.lines == ["ready", "KeyboardInterrupt", "done", "1", "done"]
    assert not done.err
    assert done.code == 0

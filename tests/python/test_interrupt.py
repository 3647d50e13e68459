# SPDX-License-Identifier: BSD-3-Clause
"""Ctrl-C: one KeyboardInterrupt in the user's program, nothing from the workers, no hang."""

from __future__ import annotations

import os
import signal
import sys

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


def run_and_interrupt(body: str, ready: str = "ready") -> scripts.Finished:
    """Interrupt the whole group, as a terminal does, once the program says that it is ready."""
    command = [sys.executable, "-c", scripts.dedent(body)]
    with scripts.Program(command, own_session=True) as program:
        wait_until(lambda: ready in program.out(), "the program is ready")
        family = processes.family(program.pid)
        os.killpg(program.pid, signal.SIGINT)
        done = program.finish()
    wait_until(lambda: not any(map(processes.is_alive, family)), "all have ended")
    return done


@pytest.mark.parametrize("wait", WAITS)
def test_an_interrupt_ends_the_program_with_one_traceback(wait: str) -> None:
    done = run_and_interrupt(f"""
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
    """)
    assert done.err.count("Traceback") <= 1
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


def test_a_task_that_the_terminal_interrupts_too_fails_by_itself() -> None:
    """The terminal signals the whole group; a user who handles it keeps the pool."""
    done = run_and_interrupt("""
        import signal, time, owngil
        with owngil.Pool(1) as pool:
            pool.submit(pow, 2, 3).result()
            future = pool.submit(time.sleep, 600)
            while not future.running(): pass
            signal.signal(signal.SIGINT, lambda *_: print("handled", flush=True))
            print("ready", flush=True)
            print(type(future.exception()).__name__)
            print(pool.submit(pow, 2, 5).result())
    """)
    assert done.lines == ["ready", "handled", "KeyboardInterrupt", "32"]
    assert not done.err


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

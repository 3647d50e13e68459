# SPDX-License-Identifier: BSD-3-Clause
"""A program in a PID namespace of its own, as in a container: as its process number 1, and not.

/proc may still show the outer namespace, where the same processes have other numbers.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys

import pytest

from harness import processes, scripts
from harness.conditions import wait_until

UNSHARE = ("unshare", "--user", "--map-root-user", "--pid", "--fork")
OF_ROOT = ("unshare", "--pid", "--fork")
PROC = pytest.mark.parametrize("proc", ["outer", "own"])


@functools.cache
def unshare(proc: str) -> tuple[str, ...]:
    """The command that makes the namespace; skips the test where the system does not allow it."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare(1) here")
    also = ("--mount-proc",) if proc == "own" else ()
    for command in (OF_ROOT, UNSHARE):
        tried = subprocess.run([*command, *also, "true"], capture_output=True, check=False)
        if tried.returncode == 0:
            return (*command, *also)
    pytest.skip(f"no PID namespace may be made here: {tried.stderr.decode().strip()}")


@PROC
def test_as_process_number_one_a_program_works_and_ends(proc: str) -> None:
    done = scripts.run(
        [
            *unshare(proc),
            sys.executable,
            "-c",
            scripts.dedent("""
                import os, owngil
                with owngil.Pool(2) as pool:
                    print(os.getpid(), pool.submit(pow, 2, 3).result(), *pool.map(abs, [-1, 2]))
                    try: pool.submit(os._exit, 7).result()
                    except owngil.WorkerDied as error: print(error.exitcode)
                    print(pool.submit(pow, 2, 5).result())
            """),
        ]
    )
    assert done.lines == ["1 8 1 2", "7", "32"]


@PROC
@pytest.mark.parametrize("where", ["in the with block", "at the exit", "in the program"])
def test_an_interrupt_of_process_number_one_gives_the_prompt_back(proc: str, where: str) -> None:
    leave = {
        "in the with block": "with pool: future.result()",
        "at the exit": "threading.Thread(target=tell).start()",
        "in the program": "future.result()",
    }
    source = f"""
        import os, threading, time, owngil
        def tell():
            try:
                while True: pool.submit(pow, 2, 3).cancel()
            except RuntimeError: print("ready", flush=True)
        pool = owngil.Pool(1)
        future = pool.submit(time.sleep, 600)
        while not future.running(): pass
        if {where!r} != "at the exit": print("ready", flush=True)
        {leave[where]}
    """
    command = [*unshare(proc), sys.executable, "-c", scripts.dedent(source)]
    with scripts.Program(command, own_session=True) as program:
        wait_until(lambda: "ready" in program.out(), "the program is ready")
        family = processes.descendants(program.pid)
        os.killpg(program.pid, signal.SIGINT)
        done = program.finish()
    assert done.code == 128 + signal.SIGINT
    assert done.err.count("Traceback") == 1
    wait_until(lambda: not any(map(processes.is_alive, family)), "all have ended")


@PROC
def test_nothing_is_left_behind_by_a_program_that_is_not_number_one(proc: str) -> None:
    """Who kills has to know the numbers that processes have in the namespace."""
    inside = """
        import os, signal, subprocess, sys, owngil

        def start():
            return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid

        pool = owngil.Pool(1)
        with owngil.Pool(1) as short:
            print(short.submit(start).result(), pool.submit(start).result(), flush=True)
        pool.submit(pow, 2, 3).result()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    outside = f"""
        import os, subprocess, sys, time
        done = subprocess.run([sys.executable, "-c", {scripts.dedent(inside)!r}],
                              stdout=subprocess.PIPE, text=True)
        left = [int(word) for word in done.stdout.split()]
        print(os.getpid(), len(left), flush=True)
        while left:
            for pid in left:
                try: os.kill(pid, 0)
                except ProcessLookupError: left.remove(pid)
            time.sleep(0.01)
        print("gone")
    """
    done = scripts.run([*unshare(proc), sys.executable, "-c", scripts.dedent(outside)])
    assert done.lines == ["1 2", "gone"]

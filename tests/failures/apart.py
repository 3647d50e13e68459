# SPDX-License-Identifier: BSD-3-Clause
"""Events that take a pool, or a whole program, for themselves alone."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import dies_at_start
import pytest
import stages
from driver import Seen
from events import fire
from matrix import INITIALIZER, OPTIONS, STARTING, USER

import owngil
from harness import processes, scripts
from harness.conditions import wait_until

DEATHS = 2  # at the start; four in a row would break the pool, as they should
TASKS = 20

PROGRAM = """
    import json, os, signal, sys, owngil
    def task(path):
        with open(path, "a") as file: file.write(f"{os.getpid()}\\n")
        signal.pause()
    options, folder = sys.argv[1:]
    pool = owngil.Pool(2, **json.loads(options))
    for name in "ab":
        os.mkfifo(f"{folder}/{name}")
        pool.submit(task, f"{folder}/{name}")
    print(*[open(f"{folder}/{name}").read().strip() for name in "ab"], flush=True)
    signal.pause()
"""


def starting(event: str, way: str, folder: Path) -> Seen:
    """The first workers die before they are ready."""
    assert event == "SIGKILL"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(dies_at_start.FOLDER, str(folder))
        patch.setenv(dies_at_start.DEATHS, str(DEATHS))
        with owngil.Pool(2, **OPTIONS[way], preload=["dies_at_start"]) as pool:
            futures = [pool.submit(stages.identity, number) for number in range(TASKS)]
            assert [future.result() for future in futures] == list(range(TASKS))
            assert len(list(folder.iterdir())) == DEATHS
            return Seen(pool.submit(stages.identity, 1).result(), None, 0)


def initializer(event: str, way: str, folder: Path) -> Seen:
    pool = owngil.Pool(2, **OPTIONS[way], initializer=fire, initargs=(event,))
    futures = [pool.submit(stages.identity, number) for number in range(TASKS)]
    errors = [future.exception() for future in futures]
    assert all(isinstance(error, owngil.PoolBroken) for error in errors)
    with pytest.raises(owngil.PoolBroken):
        pool.submit(stages.identity, 1)
    pool.shutdown()
    return Seen(None, errors[0], 0)


def user(event: str, way: str, folder: Path) -> None:
    """A program with two tasks that run dies; nothing that it started lives on."""
    assert event == "SIGKILL"
    command = [sys.executable, "-c", scripts.dedent(PROGRAM), json.dumps(OPTIONS[way]), str(folder)]
    with scripts.Program(command) as program:
        wait_until(lambda: len(program.out().split()) == 2, "the pids of the workers")
        family = processes.family(program.pid)
        assert {int(pid) for pid in program.out().split()} <= {one.pid for one in family}
        os.kill(program.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(processes.is_alive, family)), "everybody's end")


WAYS: dict[str, Callable[[str, str, Path], Seen | None]] = {
    STARTING: starting,
    INITIALIZER: initializer,
    USER: user,
}

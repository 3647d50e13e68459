# SPDX-License-Identifier: BSD-3-Clause
"""Tasks in which an event happens at just one stage of the task's way.

The stages are those of ARCHITECTURE.md, "The path of a task"; what has no function here is made
to happen from outside (see driver.py).
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from events import fire

from harness.gate import Gate

RESULT_TAIL = 768  # in the channel: the store that commits a result (ipc/LAYOUT.md)
ITEMS = 9  # of the map in which it happens: more than one, and all in one chunk


class InWorker:
    """Something that is to happen in a worker and not here, where it is made and comes back."""

    def __init__(self, event: str, home: int) -> None:
        self.event = event
        self.home = home

    def fire(self) -> None:
        if os.getpid() != self.home:
            fire(self.event)


class WhenUnpickled(InWorker):
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return _fire_elsewhere, (self.event, self.home)


class WhenPickled(InWorker):
    def __reduce__(self) -> tuple[Callable[..., object], tuple[int]]:
        self.fire()
        return int, (1,)


class WhenDropped(InWorker):
    """The worker lets a result go once it is encoded and before it commits the reply."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[int]]:
        return int, (1,)

    def __del__(self) -> None:
        self.fire()


def _fire_elsewhere(event: str, home: int) -> int:
    InWorker(event, home).fire()
    return 1


def identity(value: Any) -> Any:
    return value


def execute(event: str) -> int:
    fire(event)
    return 1


def execute_at(gate: Gate, event: str) -> int:
    gate.enter()
    return execute(event)


def make_pickled(event: str, home: int) -> object:
    return WhenPickled(event, home)


def make_dropped(event: str, home: int) -> object:
    return WhenDropped(event, home)


def fire_after_commit(event: str) -> int:
    """A thread waits for the word that commits the answer of this very task."""
    tail = _result_tail()
    before = tail.value

    def wait() -> None:
        while tail.value == before:
            pass
        fire(event)

    threading.Thread(target=wait).start()
    return 1


def item(number: int, bad: int, event: str) -> int:
    if number == bad:
        fire(event)
    return number


def wait_for_a_lock(begun: Path) -> None:
    """What no signal ends in one of several interpreters."""
    lock = threading.Lock()
    lock.acquire()
    begun.touch()
    lock.acquire()


def _result_tail() -> ctypes.c_uint64:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "/memfd:owngil-channel" in line:
            return ctypes.c_uint64.from_address(int(line.partition("-")[0], 16) + RESULT_TAIL)
    raise AssertionError("this is no worker")

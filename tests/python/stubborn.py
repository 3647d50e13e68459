# SPDX-License-Identifier: BSD-3-Clause
"""Tasks that do not end by themselves, each stuck in a way of its own. All mark their beginning."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import owngil

FOR_EVER_S = 3600.0


def spin(begun: Path) -> None:
    begun.touch()
    while True:
        pass


def sleep(begun: Path) -> None:
    begun.touch()
    time.sleep(FOR_EVER_S)


def read(begun: Path) -> None:
    ours, _theirs = os.pipe()
    begun.touch()
    os.read(ours, 1)


def lock(begun: Path) -> None:
    held = threading.Lock()
    held.acquire()
    begun.touch()
    held.acquire()


def wait_for_event(begun: Path) -> None:
    begun.touch()
    threading.Event().wait()


def select_nothing(begun: Path) -> None:
    begun.touch()
    select.select([], [], [])


def call_c_with_the_gil(begun: Path) -> None:
    begun.touch()
    sum(range(1 << 62))


def compute_with_the_gil(begun: Path) -> None:
    """One C call that looks for no signal."""
    digits = 9 ** (10**7)
    begun.touch()
    digits**40


def swallow(begun: Path) -> None:
    """Catches whatever stops it, for ever."""
    try:
        begun.touch()
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
    except BaseException:  # it came between two of them, and none comes while it is handled
        while True:
            pass


def ignore_signals(begun: Path) -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    spin(begun)


def stop_itself(begun: Path) -> None:
    """Its process, also if something is raised in it once it has begun."""
    pid = os.getpid()
    try:
        begun.touch()
    finally:
        os.kill(pid, signal.SIGSTOP)
    spin(begun)


def ask_itself(begun: Path, stopped: Path) -> None:
    """Where it is, again and again, by the signal that the pool asks with."""
    begun.touch()
    try:
        while True:
            os.kill(os.getpid(), signal.SIGRTMAX - 3)
    finally:
        stopped.touch()


def busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def clean_up(begun: Path, cleaned: Path, pause: Callable[[float], object]) -> None:
    """Its `finally` takes its time, with calls, loops and exceptions of its own."""
    try:
        with open(os.devnull):
            spin(begun)
    finally:
        try:
            raise KeyError("within")
        except KeyError:
            pause(0.2)
        cleaned.touch()


class Slow:
    """Takes its time to be destroyed."""

    def __init__(self, destroyed: Path, pause: Callable[[float], object]) -> None:
        self.destroyed = destroyed
        self.pause = pause

    def __del__(self) -> None:
        self.pause(0.02)
        self.destroyed.touch()


def destroy(begun: Path, destroyed: Path, pause: Callable[[float], object]) -> None:
    """Spends half of its time in a `__del__`."""
    while True:
        slow = Slow(destroyed, pause)
        begun.touch()
        del slow
        pause(0.02)


def spin_at(number: int, folder: Path, bad: int) -> int:
    if number == bad:
        spin(folder / "begun")
    return number


def swallow_once(begun: Path, swallowed: Path) -> None:
    try:
        spin(begun)
    except BaseException:
        swallowed.touch()
    while True:
        pass


def ask(begun: Path) -> str:
    """Looks for itself whether it is to stop, with no way for an exception to reach it."""
    answers: list[bool] = []

    def look() -> None:
        while not owngil.cancelled():
            time.sleep(0.001)
        answers.append(True)

    looker = threading.Thread(target=look)
    looker.start()
    begun.touch()
    try:
        looker.join()
    except BaseException:
        looker.join()
    return f"asked {answers}"


EASY: tuple[Callable[[Path], object], ...] = (
    spin,
    sleep,
    read,
    lock,
    wait_for_event,
    select_nothing,
)
WOKEN = (sleep, read, select_nothing)  # in interpreters, too, where a signal wakes them
HARD: tuple[Callable[[Path], object], ...] = (swallow, ignore_signals, stop_itself)


def skip_what_is_refused(task: object, worker_kind: str) -> None:
    import pytest  # here, for workers import this module

    if task is ignore_signals and worker_kind != "process":
        pytest.skip("an interpreter that is not the process's main one may set no handlers")

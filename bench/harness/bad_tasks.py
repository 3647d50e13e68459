# SPDX-License-Identifier: BSD-3-Clause
"""Tasks that go wrong, each in a way that some pool takes badly. Runs in workers."""

import os
import signal
import time
from typing import Any

TASK_S = 0.020


class Unmakable(Exception):
    """Pickles, but cannot be made again from its args."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def good(number: int) -> int:
    """A task among which there is a bad one."""
    time.sleep(TASK_S)
    return number


def exits(number: int) -> None:
    """Ends the worker, as a C library does that calls exit."""
    time.sleep(TASK_S)
    os._exit(7)


def is_killed(number: int) -> None:
    """Ends the worker, as the kernel does when memory is short."""
    time.sleep(TASK_S)
    os.kill(os.getpid(), signal.SIGKILL)


def raises_unmakable(number: int) -> None:
    """Raises what pickle can write but not read."""
    time.sleep(TASK_S)
    raise Unmakable(number, number)


def returns_lambda(number: int) -> Any:
    """Returns what pickle cannot write."""
    time.sleep(TASK_S)
    return lambda: number

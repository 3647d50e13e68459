# SPDX-License-Identifier: BSD-3-Clause
"""What the measured tasks do: importable functions, and CPU work of a fixed amount.

Every worker imports this, and `start.py` and `idle.py` measure it: so it imports next to nothing.
"""

import os
import time


def identity(value: object) -> object:
    """Return the argument: a task that costs nothing but its way there and back."""
    return value


def burn(units: int) -> int:
    """Do `units` steps of pure-Python work; the value shows that all were done."""
    state = 1
    for _ in range(units):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
    return state


def countdown(n: int) -> int:
    """Count down to 0 in pure Python."""
    while n > 0:
        n -= 1
    return n


def meet(folder: str) -> int:
    """Say that this task has come, and stay until all may go; so occupy a worker, asleep."""
    gate = os.open(f"{folder}/gate", os.O_RDONLY)
    arrivals = os.open(f"{folder}/arrivals", os.O_WRONLY)
    os.write(arrivals, b"1")
    os.close(arrivals)
    os.read(gate, 1)
    os.close(gate)
    return 1


def units_in_one_ms() -> float:
    """How many units of `burn` take 1 ms here; the fastest of many, so that noise drops out."""
    units = 20_000
    best = float("inf")
    for _ in range(30):
        began = time.perf_counter()
        burn(units)
        best = min(best, time.perf_counter() - began)
    return units / (best * 1000)

# SPDX-License-Identifier: BSD-3-Clause
"""What the measured tasks do: importable functions, and CPU work of a fixed amount."""

import socket
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


def meet(address: str) -> int:
    """Connect to a socket of the user's process and stay until it closes the connection.

    So a task occupies its worker, without using a CPU, until it is told to end.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + address)
        connection.recv(1)
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

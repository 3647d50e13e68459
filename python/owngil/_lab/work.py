# SPDX-License-Identifier: BSD-3-Clause
"""What the experiments compute: importable functions of a number, for threads and workers alike."""

import time
from collections.abc import Callable

__all__ = ["count_holding", "count_numpy", "count_python", "count_releasing", "steps_for"]


def count_python(n: int) -> int:
    """Count down in pure Python."""
    while n > 0:
        n -= 1
    return n


def count_numpy(n: int) -> int:
    """Count 100,000 counters down at once with NumPy, which releases the GIL by itself."""
    import numpy

    counters = numpy.full(100_000, n)
    while n > 0:
        counters -= 1
        n -= 1
    return int(counters[0])


def count_holding(n: int) -> int:
    """Count in C++ and keep the GIL."""
    from owngil._gil import count_holding as count

    return count(n) - n


def count_releasing(n: int) -> int:
    """Count in C++ between Py_BEGIN_ALLOW_THREADS and Py_END_ALLOW_THREADS."""
    from owngil._gil import count_releasing as count

    return count(n) - n


def steps_for(count: Callable[[int], int], seconds: float) -> int:
    """How far it counts in so many seconds, undisturbed; so it never takes less."""
    count(1)  # what is only done once is not counted
    steps = 1
    while (took := _seconds(count, steps)) < 0.02:
        steps *= 4
    fastest = min(took, *(_seconds(count, steps) for _ in range(4)))
    return max(1, int(steps * seconds / fastest))


def _seconds(count: Callable[[int], int], steps: int) -> float:
    began = time.perf_counter()
    count(steps)
    return time.perf_counter() - began

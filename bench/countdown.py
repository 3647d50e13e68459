# SPDX-License-Identifier: BSD-3-Clause
"""How many times faster is a pure-Python countdown in processes, and in threads, than serial?

countdown(10_000_000) once for each worker: one after the other, in threads, in pools and in
bare forks. All of them are started before the clock is.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.contest import Variant, floor, main, pools
from harness.executors import (
    INTERPRETERS,
    OWNGIL,
    OWNGIL_INTERPRETERS,
    POOL,
    PPE,
    THREADS,
    Face,
)
from harness.figures import Goal, Metric, Samples
from harness.forks import Forks
from harness.turns import Settings, Turn
from harness.work import countdown

_N = 10_000_000
_SERIAL = "serial"
_FORKS = "bare forks"


def start(settings: Settings) -> int:
    """Where the countdown begins."""
    return _N // 20 if settings.quick else _N


def submitted(face: Face, settings: Settings, number: int) -> Samples:
    """One task for each worker."""
    submit = face.submit
    assert submit is not None
    n = start(settings)
    began = time.perf_counter()
    futures = [submit(countdown, n) for _ in range(settings.workers)]
    left = [future.result() for future in futures]
    seconds = time.perf_counter() - began
    if any(left):
        raise AssertionError("the countdown stopped early")
    return {"all": [seconds]}


@contextmanager
def serial(settings: Settings) -> Iterator[Turn]:
    """One after the other."""

    def turn(number: int) -> Samples:
        n = start(settings)
        began = time.perf_counter()
        for _ in range(settings.workers):
            countdown(n)
        return {"all": [time.perf_counter() - began]}

    yield turn


@contextmanager
def forked(settings: Settings) -> Iterator[Turn]:
    """Bare forks."""

    def turn(number: int) -> Samples:
        tasks = [start(settings)] * settings.workers
        began = time.perf_counter()
        done = forks.run(tasks)
        seconds = time.perf_counter() - began
        if done != (settings.workers, 0):
            raise AssertionError("wrong results")
        return {"all": [seconds]}

    with Forks(settings.workers, countdown) as forks:
        yield turn


VARIANTS = (
    Variant(
        "countdown",
        "once for each worker",
        [
            floor(_SERIAL, serial),
            *pools((THREADS, OWNGIL, OWNGIL_INTERPRETERS), submitted),
            floor(_FORKS, forked),
            *pools((PPE, POOL, INTERPRETERS), submitted),
        ],
        (Metric("all", "amount", "ms", 1e3),),
        (Goal("all", "within", 1.01, _FORKS),),
        references=(_SERIAL, _FORKS),
        rounds=15,
    ),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

# SPDX-License-Identifier: BSD-3-Clause
"""How soon is a task stopped: after its limit has passed, and after it was cancelled while it ran?

In `limit` all workers compute in pure Python, so every CPU of the run is busy. `late` is the time
from the moment when the limit of a task passes, counted from its first line, until `result()`
raises in the caller; the worker holds memory, which its end has to give back. `raised` is the time
from `cancel(running=True)` until the exception arrives in the task, `ended` until `result()`
raises.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from harness.contest import Variant, main
from harness.endless import Stamps, sleep, spin
from harness.executors import KINDS, OWNGIL, OWNGIL_INTERPRETERS
from harness.figures import Goal, Metric, Samples
from harness.turns import Contender, Settings, Turn

_LIMIT_S = 0.05
_CALLS = 20
_LARGE_BYTES = 1 << 30
_LONG_LIMIT_S = 3.0  # time enough to fill that many bytes
_LARGE_CALLS = 2


@contextmanager
def _open_pool(
    settings: Settings, busy_workers: int, kind: str = "process"
) -> Iterator[tuple[Any, Stamps]]:
    """A pool of which so many workers compute, until the end."""
    import owngil

    stamps, others = Stamps(), Stamps()
    with owngil.Pool(settings.workers, kind=kind, preload=(spin.__module__,)) as pool:
        busy = [pool.submit(spin, others.path) for _ in range(busy_workers)]
        try:
            yield pool, stamps
        finally:
            for future in busy:
                pool.kill(future)
    stamps.close()
    others.close()


def limits(settings: Settings, limit_s: float, held_bytes: int, calls: int) -> Iterator[Turn]:
    """A turn of tasks that hold so much memory when their limit passes."""
    import owngil

    with _open_pool(settings, settings.workers - 1) as (pool, stamps):
        view = pool.options(timeout=limit_s)

        def turn(number: int) -> Samples:
            late = []
            for _ in range(calls):
                stamps.clear()
                try:
                    view.submit(spin, stamps.path, held_bytes).result()
                except owngil.TaskTimeout:
                    late.append((time.monotonic_ns() - stamps.read()[0]) / 1e9 - limit_s)
            if len(late) != calls:
                raise AssertionError("a task ended before its limit")
            return {"late": late}

        yield turn


@contextmanager
def small(settings: Settings) -> Iterator[Turn]:
    """owngil's; no peer has a limit that reaches pure Python and keeps the pool."""
    yield from limits(settings, _LIMIT_S, 0, _CALLS)


@contextmanager
def large(settings: Settings) -> Iterator[Turn]:
    """The same with memory that the end of the worker has to give back."""
    yield from limits(settings, _LONG_LIMIT_S, _LARGE_BYTES, _LARGE_CALLS)


def cancels(
    task: Callable[[str], None], kind: str = "process", *, crowded: bool = False
) -> Callable[[Settings], AbstractContextManager[Turn]]:
    """A turn of tasks that are cancelled while they run; `crowded`: more than there are CPUs."""

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        busy_workers = settings.workers - 1 if crowded else 0
        with _open_pool(settings, busy_workers, kind) as (pool, stamps):

            def turn(number: int) -> Samples:
                raised, ended = [], []
                for _ in range(_CALLS):
                    stamps.clear()
                    future = pool.submit(task, stamps.path)
                    stamps.wait_for_begun()
                    told = time.monotonic_ns()
                    if not future.cancel(running=True):
                        raise AssertionError("it could not be cancelled")
                    try:
                        future.result()
                    except CancelledError:
                        ended.append((time.monotonic_ns() - told) / 1e9)
                    raised.append((stamps.read()[1] - told) / 1e9)
                return {"raised": raised, "ended": ended}

            yield turn

    return open_


def _no_signal_wakes() -> str:
    """Why what sleeps in an interpreter cannot be stopped; empty if it can."""
    if reason := KINDS[OWNGIL_INTERPRETERS].missing():
        return reason
    from owngil._cpython import interpreters

    return "" if interpreters().wakes else "no signal wakes it before CPython 3.15"


_LATE = (Metric("late", "latency", "ms", 1e3),)
_IN_TIME = (Goal("late", "at most", 50, statistic="p99"),)
_STOPPED = (Metric("raised", "latency", "ms", 1e3), Metric("ended", "latency", "ms", 1e3))
_AT_ONCE = (
    Goal("raised", "at most", 1, statistic="p90"),
    Goal("raised", "at most", 1, contender=OWNGIL_INTERPRETERS),
)

VARIANTS = (
    Variant("limit", "a limit of 50 ms", [Contender("owngil", small)], _LATE, _IN_TIME, rounds=10),
    Variant(
        "limit-1GiB",
        "a limit of 3 s, with 1 GiB in the worker",
        [Contender("owngil", large)],
        _LATE,
        _IN_TIME,
        rounds=6,
    ),
    Variant(
        "cancel",
        "cancel(running=True) of a loop in pure Python",
        [
            Contender(OWNGIL, cancels(spin)),
            Contender("owngil, all CPUs busy", cancels(spin, crowded=True)),
            Contender(
                OWNGIL_INTERPRETERS,
                cancels(spin, "interpreter"),
                KINDS[OWNGIL_INTERPRETERS].missing,
            ),
        ],
        _STOPPED,
        _AT_ONCE,
        rounds=10,
    ),
    Variant(
        "cancel-asleep",
        "cancel(running=True) of time.sleep",
        [
            Contender(OWNGIL, cancels(sleep)),
            Contender(OWNGIL_INTERPRETERS, cancels(sleep, "interpreter"), _no_signal_wakes),
        ],
        _STOPPED,
        _AT_ONCE,
        rounds=10,
    ),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

# SPDX-License-Identifier: BSD-3-Clause
"""Does memory grow with the number of tasks: ten million, one after the other, by two workers?

A million is for warming up. `growth` is Private_Dirty of all processes of the pool together, and of
the caller, after the rest less after the first; `shared` the same of shared memory objects. `rate`
is for the time that it takes. Each call has a future of its own, 10,000 of them at a time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.contest import Variant, main
from harness.executors import KINDS, OWNGIL, OWNGIL_INTERPRETERS, Face, worker_pids
from harness.figures import Goal, Metric, Samples
from harness.processes import family, private_dirty, shared_memory
from harness.turns import Contender, Settings, Turn

_AT_ONCE = 10_000


def run(face: Face, count: int) -> None:
    """So many calls; checked."""
    submit = face.submit
    assert submit is not None
    for begin in range(0, count, _AT_ONCE):
        numbers = range(begin, begin + _AT_ONCE)
        if [task.result() for task in [submit(abs, -n) for n in numbers]] != list(numbers):
            raise AssertionError("wrong result")


def held(face: Face) -> tuple[int, int]:
    """Private and shared bytes."""
    pids = family(worker_pids(face))
    return private_dirty(pids), shared_memory(pids)


def growth(name: str) -> Contender:
    """One turn is all of it."""

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        count = 100_000 if settings.quick else 1_000_000
        with KINDS[name].open(settings.workers) as face:

            def turn(number: int) -> Samples:
                run(face, count)
                before = held(face)
                began = time.perf_counter()
                run(face, 9 * count)
                seconds = time.perf_counter() - began
                after = held(face)
                private, shared = (float(b - a) for a, b in zip(before, after, strict=True))
                return {"growth": [private], "shared": [shared], "rate": [9 * count / seconds]}

            yield turn

    return Contender(name, open_, KINDS[name].missing)


VARIANTS = (
    Variant(
        "tasks",
        "after ten million calls",
        [growth(name) for name in (OWNGIL, OWNGIL_INTERPRETERS)],
        (
            Metric("growth", "amount", "KiB", 1 / 1024),
            Metric("shared", "amount", "KiB", 1 / 1024),
            Metric("rate", "rate", "thousand calls/s", 1e-3),
        ),
        tuple(
            Goal(metric, "at most", 1024, contender=name)
            for name in (OWNGIL, OWNGIL_INTERPRETERS)
            for metric in ("growth", "shared")
        ),
        references=(),
        rounds=1,
        practice=False,
    ),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

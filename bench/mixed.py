# SPDX-License-Identifier: BSD-3-Clause
"""Does a short task ever wait behind a long one: 400 tasks of 0.01 to 50 ms against bare forks?

The lengths are spread evenly over their logarithm and shuffled anew for every round, the same
for all contenders. The work is fixed CPU work, not sleep. The bare forks take the tasks
from a shared counter, in order: the best that can be done without knowing the lengths.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from harness.contest import Variant, floor, main, pools
from harness.executors import OWNGIL, POOL, PPE, Face
from harness.figures import Goal, Metric, Samples
from harness.forks import Forks
from harness.turns import Settings, Turn
from harness.work import burn

_TASKS = 400
_SHORTEST_MS, _LONGEST_MS = 0.01, 50.0
_FORKS = "bare forks"


def lengths(settings: Settings, number: int) -> list[int]:
    """The units of every task of this round, in order."""
    ratio = _LONGEST_MS / _SHORTEST_MS
    tasks = [
        max(1, round(settings.units_per_ms * _SHORTEST_MS * ratio ** (i / (_TASKS - 1))))
        for i in range(_TASKS)
    ]
    random.Random(number).shuffle(tasks)
    return tasks


@cache
def expected(units: int) -> int:
    """The result of a task, computed once a process."""
    return burn(units)


def submitted(face: Face, settings: Settings, number: int) -> Samples:
    """Submit all in order, wait for all."""
    tasks = lengths(settings, number)
    submit = face.submit
    assert submit is not None
    began = time.perf_counter()
    futures = [submit(burn, units) for units in tasks]
    results = [future.result() for future in futures]
    seconds = time.perf_counter() - began
    if results != [expected(units) for units in tasks]:
        raise AssertionError("wrong results")
    return {"all tasks": [seconds]}


@contextmanager
def forked(settings: Settings) -> Iterator[Turn]:
    """The floor."""

    def turn(number: int) -> Samples:
        tasks = lengths(settings, number)
        began = time.perf_counter()
        done = forks.run(tasks)
        seconds = time.perf_counter() - began
        if done != (_TASKS, sum(expected(units) for units in tasks)):
            raise AssertionError("wrong results")
        return {"all tasks": [seconds]}

    with Forks(settings.workers, burn) as forks:
        yield turn


VARIANTS = (
    Variant(
        "mixed",
        "submit 400 tasks, wait for all",
        [*pools((OWNGIL, PPE, POOL), submitted), floor(_FORKS, forked)],
        (Metric("all tasks", "amount", "ms", 1e3),),
        (Goal("all tasks", "within", 1.03, _FORKS),),
        references=(_FORKS,),
        rounds=15,
    ),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

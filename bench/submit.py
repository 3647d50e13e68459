# SPDX-License-Identifier: BSD-3-Clause
"""How many tasks a second does one thread get through: 100,000 submits, then all results?

`end to end` is from the first submit to the last result; `submit` is its first half alone.
Peers that need seconds for so many are given fewer; a rate is a rate.
"""

import time

from harness.contest import Variant, main, pools
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
from harness.turns import Settings
from harness.work import identity


def submits(face: Face, settings: Settings, tasks: int) -> Samples:
    """Submit so many, collect all, check all."""
    submit = face.submit
    assert submit is not None
    tasks = tasks // 20 if settings.quick else tasks
    began = time.perf_counter()
    futures = [submit(identity, i) for i in range(tasks)]
    submitted = time.perf_counter()
    results = [future.result() for future in futures]
    ended = time.perf_counter()
    if results != list(range(tasks)):
        raise AssertionError("wrong results")
    return {
        "end to end": [tasks / (ended - began)],
        "submit": [tasks / (submitted - began)],
    }


def all_tasks(face: Face, settings: Settings, number: int) -> Samples:
    """The question itself."""
    return submits(face, settings, 100_000)


def fewer_tasks(face: Face, settings: Settings, number: int) -> Samples:
    """For those that would take long."""
    return submits(face, settings, 10_000)


def few_tasks(face: Face, settings: Settings, number: int) -> Samples:
    """For those that are made for clusters."""
    return submits(face, settings, 2_000)


VARIANTS = (
    Variant(
        "submit",
        "a function that returns its argument",
        [
            *pools((OWNGIL, OWNGIL_INTERPRETERS, POOL, THREADS), all_tasks),
            *pools((PPE, "loky", "mpire", "pebble", INTERPRETERS), fewer_tasks),
            *pools(("Dask", "Ray"), few_tasks),
        ],
        (
            Metric("end to end", "rate", "thousand/s", 1e-3),
            Metric("submit", "rate", "thousand/s", 1e-3),
        ),
        (
            Goal("end to end", "at least", 1000),
            Goal("end to end", "within", 1.1, OWNGIL, contender=OWNGIL_INTERPRETERS),
            Goal("end to end", "better", 50, INTERPRETERS, contender=OWNGIL_INTERPRETERS),
        ),
        references=(PPE, OWNGIL),
        rounds=9,
    ),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

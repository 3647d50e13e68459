# SPDX-License-Identifier: BSD-3-Clause
"""How long from `Pool()` to the first result, in the first pool of a program and in a later one?

Every turn is a new Python, which imports the pool's module before the clock starts.
first      the program's first pool: from the constructor to the first result
all        the same, until every worker has answered (each was in a task at the same moment)
later      the same as `first`, for further pools of that program
`python -c pass` is a whole process from its start to its end, the unit of all of these.
interpreters: a later pool until all of its interpreters are there and the first result is, beside
Py_NewInterpreterFromConfig as often in a process that has done nothing else.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.contest import Variant, floor, main
from harness.executors import (
    INTERPRETERS,
    KINDS,
    OWNGIL,
    OWNGIL_INTERPRETERS,
    POOL,
    PPE,
    Face,
)
from harness.figures import Goal, Metric, Samples
from harness.meeting import Meeting
from harness.turns import Contender, Settings, Turn
from harness.work import identity, meet

_PYTHON = "python -c pass"
_BARE = "bare interpreters"
_LATER_POOLS = 5


def one_program(name: str, workers: int) -> Samples:
    """The measured program: a first pool, then later ones. Runs in a process of its own."""
    samples: Samples = {"later": []}
    for pool_number in range(1 + _LATER_POOLS):
        began = time.perf_counter()
        with KINDS[name].open(workers) as face:
            first = _first_result(face, began)
            if pool_number == 0:
                samples["first"] = [first]
                samples["all"] = [_all_answered(face, workers, began)]
            else:
                samples["later"].append(first)
    return samples


def _first_result(face: Face, began: float) -> float:
    if face.submit is None:
        (result,) = face.map(identity, [7], None)
    else:
        result = face.submit(identity, 7).result()
    seconds = time.perf_counter() - began
    if result != 7:
        raise AssertionError(f"the first result was {result!r}")
    return seconds


def _all_answered(face: Face, workers: int, began: float) -> float:
    assert face.submit is not None
    with Meeting() as meeting:
        tasks = [face.submit(meet, meeting.address) for _ in range(workers)]
        meeting.gather(workers)
    results = [task.result() for task in tasks]
    seconds = time.perf_counter() - began
    if results != [1] * workers:
        raise AssertionError("a worker did not answer")
    return seconds


def programs(name: str) -> Contender:
    """A contender whose turn is one run of `one_program`."""

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        command = [sys.executable, __file__, "--program", name, str(settings.workers)]

        def turn(number: int) -> Samples:
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            samples: Samples = json.loads(run.stdout.splitlines()[-1])
            return samples

        yield turn

    return Contender(name, open_, KINDS[name].missing)


@contextmanager
def python_that_does_nothing(settings: Settings) -> Iterator[Turn]:
    """The unit."""

    def turn(number: int) -> Samples:
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            seconds.append(time.perf_counter() - began)
        return {"first": seconds, "later": seconds, "all": seconds}

    yield turn


@contextmanager
def pools_of_interpreters(settings: Settings) -> Iterator[Turn]:
    """Open until all are ready."""
    import owngil

    def ready(pool: Any) -> bool:
        return all(worker.state in ("idle", "busy") for worker in pool.stats().workers)

    def turn(number: int) -> Samples:
        seconds = []
        for _ in range(_LATER_POOLS):
            began = time.perf_counter()
            with owngil.Pool(settings.workers, kind="interpreter") as pool:
                if pool.submit(identity, 7).result() != 7:
                    raise AssertionError("the first result was wrong")
                while not ready(pool):
                    time.sleep(1e-4)
                seconds.append(time.perf_counter() - began)
        return {"ready": seconds}

    yield turn


@contextmanager
def bare_interpreters(settings: Settings) -> Iterator[Turn]:
    """The unit of these."""
    program = (
        "import _interpreters, time\n"
        "began = time.perf_counter()\n"
        f"made = [_interpreters.create('isolated') for _ in range({settings.workers})]\n"
        "print(time.perf_counter() - began)\n"
        "for one in made: _interpreters.destroy(one)"
    )

    def turn(number: int) -> Samples:
        runs = [
            subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
            for _ in range(_LATER_POOLS)
        ]
        return {"ready": [float(run.stdout) for run in runs]}

    yield turn


VARIANTS = (
    Variant(
        "interpreters",
        "two interpreters, nothing preloaded",
        [
            Contender(
                OWNGIL_INTERPRETERS, pools_of_interpreters, KINDS[OWNGIL_INTERPRETERS].missing
            ),
            Contender(_BARE, bare_interpreters, KINDS[OWNGIL_INTERPRETERS].missing),
        ],
        (Metric("ready", "latency", "ms", 1e3),),
        (Goal("ready", "within", 1.5, _BARE, contender=OWNGIL_INTERPRETERS),),
        references=(_BARE,),
        rounds=15,
    ),
    Variant(
        "start",
        "two workers, nothing preloaded",
        [
            *map(
                programs,
                (
                    OWNGIL,
                    f"{PPE} fork",
                    f"{PPE} forkserver",
                    f"{PPE} spawn",
                    f"{POOL} fork",
                    "loky",
                    "mpire",
                    "pebble",
                    INTERPRETERS,
                ),
            ),
            floor(_PYTHON, python_that_does_nothing),
        ],
        (
            Metric("first", "latency", "ms", 1e3),
            Metric("all", "latency", "ms", 1e3),
            Metric("later", "latency", "ms", 1e3),
        ),
        (
            Goal("first", "within", 2, _PYTHON),
            Goal("all", "within", 1.3, OWNGIL, against_metric="first"),
            Goal("later", "at most", 3),
            Goal("later", "better", 1, f"{PPE} fork"),
        ),
        references=(_PYTHON, f"{PPE} fork"),
        rounds=15,
    ),
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--program"]:
        KINDS[sys.argv[2]].missing()  # imports it, before the clock starts
        print("\n" + json.dumps(one_program(sys.argv[2], int(sys.argv[3]))))
    else:
        main(__doc__, VARIANTS)

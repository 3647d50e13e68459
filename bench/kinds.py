# SPDX-License-Identifier: BSD-3-Clause
"""Does a loop run as fast in an interpreter with its own GIL as in a process?

Each variant leans on another part of Python: its own loop, the allocator, pickle, regular
expressions, classes. One loop for each worker; the workers have run it before the clock starts.
Every turn has new processes, for a process may be slower than its twin by some percent for life.
`CPU` is the CPU time of a loop, which others at work on the machine change less than its time.
"""

import time
from collections.abc import Callable

from harness import loops
from harness.contest import Variant, main, pools
from harness.executors import INTERPRETERS, OWNGIL, OWNGIL_INTERPRETERS, Face
from harness.figures import Goal, Metric, Samples
from harness.meeting import Meeting
from harness.turns import Settings

_WARM_UP = 50  # of the loop's length


def looped(name: str, n: int) -> Callable[[Face, Settings, int], Samples]:
    """A turn: the loop once in each worker."""

    def measure(face: Face, settings: Settings, number: int) -> Samples:
        submit = face.submit
        assert submit is not None
        length = n // (20 if settings.quick else 1)
        with Meeting() as meeting:
            warm = [
                submit(loops.run, name, length // _WARM_UP, meeting.address)
                for _ in range(settings.workers)
            ]
            meeting.gather(settings.workers)
        for future in warm:
            future.result()
        began = time.perf_counter()
        futures = [submit(loops.run, name, length) for _ in range(settings.workers)]
        results = [future.result() for future in futures]
        seconds = time.perf_counter() - began
        expected = loops.LOOPS[name](length)
        if any(done != expected for done, _ in results):
            raise AssertionError("wrong results")
        return {"all": [seconds], "CPU": [sum(cpu for _, cpu in results) / len(results)]}

    return measure


def variant(name: str, title: str, n: int) -> Variant:
    """One loop; n takes a few tenths of a second."""
    return Variant(
        name,
        title,
        pools((OWNGIL, OWNGIL_INTERPRETERS, INTERPRETERS), looped(name, n)),
        (Metric("all", "amount", "ms", 1e3), Metric("CPU", "amount", "ms", 1e3)),
        (
            Goal("all", "within", 1.02, OWNGIL, contender=OWNGIL_INTERPRETERS),
            Goal("CPU", "within", 1.02, OWNGIL, contender=OWNGIL_INTERPRETERS),
        ),
        references=(OWNGIL,),
        rounds=15,
        fresh=True,
    )


VARIANTS = (
    variant("countdown", "`while n > 0: n -= 1`", 10_000_000),
    variant("allocate", "small dicts, lists, floats and strings", 300_000),
    variant("pickle", "pickle and unpickle lists of records", 12_000),
    variant("match", "regular expressions on lines of text", 60_000),
    variant("classes", "make classes, use them", 12_000),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

# SPDX-License-Identifier: BSD-3-Clause
"""What does a pool cost that has nothing to do: memory of one more worker, and wake-ups?

Memory: two pools, of 2 and of 10 workers, each of whose workers has done one task; an eighth of
the difference is one worker. `private` is Private_Dirty of all processes together, `shared` the
pages of all shared memory objects, mapped or not, each once.
Wake-ups: voluntary context switches in 30 s (3 s with --quick) of an idle pool of 2. `busiest`
is the thread with the most, in any process, the user's included; `all` is their sum.
The thread that waits for those 30 s is ours and is left out.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.contest import Variant, main
from harness.executors import (
    KINDS,
    OWNGIL,
    OWNGIL_INTERPRETERS,
    POOL,
    PPE,
    Face,
    worker_pids,
)
from harness.figures import Goal, Metric, Samples
from harness.meeting import Meeting
from harness.processes import family, private_dirty, shared_memory, voluntary_switches
from harness.turns import Contender, Settings, Turn
from harness.work import meet

_FEW, _MANY = 2, 10
_NAMES = (OWNGIL, PPE, POOL, "loky", "mpire", "pebble")


def one_task_each(face: Face, workers: int) -> None:
    """Every worker is in a task at the same moment, once."""
    assert face.submit is not None
    with Meeting() as meeting:
        tasks = [face.submit(meet, meeting.address) for _ in range(workers)]
        meeting.gather(workers)
    assert [task.result() for task in tasks] == [1] * workers


def memory(name: str) -> Contender:
    """Bytes of one more worker."""

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        def held(workers: int) -> tuple[int, int]:
            with KINDS[name].open(workers) as face:
                one_task_each(face, workers)
                pids = family(worker_pids(face))
                return private_dirty(pids), shared_memory(pids)

        def turn(number: int) -> Samples:
            held(_FEW)  # what the first pool of a process leaves behind is not a worker's
            few, many = held(_FEW), held(_MANY)
            private, shared = ((many[i] - few[i]) / (_MANY - _FEW) for i in (0, 1))
            return {"private": [private], "shared": [shared]}

        yield turn

    return Contender(name, open_, KINDS[name].missing)


def wake_ups(name: str) -> Contender:
    """Context switches of an idle pool."""

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        with KINDS[name].open(_FEW) as face:

            def turn(number: int) -> Samples:
                one_task_each(face, _FEW)
                pids = family(worker_pids(face))
                time.sleep(2)  # what follows a task is not idleness yet
                before = voluntary_switches(pids)
                time.sleep(3 if settings.quick else 30)
                after = voluntary_switches(pids)
                mine = f"{os.getpid()}/{threading.get_native_id()} "
                counts = [
                    float(count - before.get(thread, 0))
                    for thread, count in after.items()
                    if not thread.startswith(mine)
                ]
                return {"busiest": [max(counts)], "all": [sum(counts)]}

            yield turn

    return Contender(name, open_, KINDS[name].missing)


VARIANTS = (
    Variant(
        "memory",
        "one more worker, after one task",
        [memory(name) for name in (*_NAMES, OWNGIL_INTERPRETERS)],
        (
            Metric("private", "amount", "KiB", 1 / 1024),
            Metric("shared", "amount", "KiB", 1 / 1024),
        ),
        (Goal("private", "at most", 1024), Goal("shared", "at most", 512)),
        references=(),
        rounds=3,
        practice=False,
    ),
    Variant(
        "wake-ups",
        "an idle pool of two workers for 30 s",
        [wake_ups(name) for name in _NAMES],
        (Metric("busiest", "amount", "switches"), Metric("all", "amount", "switches")),
        (Goal("busiest", "at most", 3),),
        references=(),
        rounds=1,
        practice=False,
    ),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

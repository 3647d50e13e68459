# SPDX-License-Identifier: BSD-3-Clause
"""How many bytes is a pending task: a million of them, each of one small int, futures kept?

Every worker is occupied while the tasks are submitted. Counted is what the user's process gains
in private memory and in shared memory. The workers are then let go and every result is checked.
Peers get 100,000 tasks; each turn is a process of its own.
"""

import gc
import os

from harness.contest import Measure, Variant, main, pools
from harness.executors import OWNGIL, POOL, PPE, THREADS, Face, worker_pids
from harness.figures import Goal, Metric, Samples
from harness.meeting import Meeting
from harness.processes import private_dirty, shared_memory
from harness.turns import Settings
from harness.work import identity, meet


def pending(tasks: int) -> Measure:
    """Bytes of each of so many."""

    def measure(face: Face, settings: Settings, number: int) -> Samples:
        count = tasks // 20 if settings.quick else tasks
        submit = face.submit
        assert submit is not None
        with Meeting() as meeting:
            occupied = [submit(meet, meeting.address) for _ in range(settings.workers)]
            meeting.gather(settings.workers)
            pids = [os.getpid(), *worker_pids(face)]
            before = held(pids)
            futures = [submit(identity, i % 100) for i in range(count)]
            after = held(pids)
        assert [task.result() for task in occupied] == [1] * settings.workers
        for i, future in enumerate(futures):
            if future.result() != i % 100:
                raise AssertionError(f"task {i} returned {future.result()!r}")
        return {"bytes": [(after - before) / count]}

    return measure


def held(pids: list[int]) -> int:
    """Private memory of the user's process, and all shared memory of the pool."""
    gc.collect()
    return private_dirty(pids[:1]) + shared_memory(pids)


VARIANTS = (
    Variant(
        "backlog",
        "tasks that wait for occupied workers",
        [
            *pools((OWNGIL,), pending(1_000_000)),
            *pools((PPE, POOL, "loky", "pebble", THREADS), pending(100_000)),
        ],
        (Metric("bytes", "amount", "bytes each"),),
        (Goal("bytes", "at most", 500),),
        rounds=3,
        practice=False,
        fresh=True,
    ),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

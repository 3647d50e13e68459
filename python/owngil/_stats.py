# SPDX-License-Identifier: BSD-3-Clause
"""`Pool.stats()`: what a pool was doing at one moment."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PoolStats", "WorkerStats"]

# As runtime::LinkState.
_STATES = ("starting", "running", "leaving", "leaving", "absent")


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker's place. `pid` is None while nobody is there, or somebody starts.

    A worker starts until the pool has heard that it did: a first result may come before that.
    Times are in seconds. `idle_for` is None unless the worker is idle.
    """

    rank: int
    pid: int | None
    state: str  # "starting", "idle", "busy", "leaving", or "absent": until there is work for one
    tasks_done: int
    busy_time: float
    idle_for: float | None
    kind: str  # "process", "interpreter" or "thread"; with kind="auto" a rank may have one of each


@dataclass(frozen=True, slots=True)
class PoolStats:
    """`tasks_done` and `busy_time` of a rank go on counting when its worker is replaced."""

    workers: tuple[WorkerStats, ...]
    pending: int  # waiting, in the backlog or in a worker's ring
    running: int
    restarts: int  # workers that died, or could not be started, and were replaced
    recycled: int  # workers that left because of max_tasks_per_child or max_memory_per_child
    leaving: int  # workers whose place is another's already, or no more, and that are not gone yet


def make_stats(
    pending: int,
    running: int,
    restarts: int,
    recycled: int,
    leaving: int,
    rows: list[tuple[int, int, int, int, int, int, int, bool]],
    kind: str,
) -> PoolStats:
    """`kind`: of the workers, but for those that others fall back to, which are processes."""
    workers = []
    for rank, pid, state, outstanding, done, busy_ns, idle_ns, falls_back in rows:
        name = _STATES[state]
        if name == "running":
            name = "busy" if outstanding else "idle"
        idle_for = idle_ns / 1e9 if name == "idle" else None
        of = "process" if falls_back else kind
        workers.append(WorkerStats(rank, pid or None, name, done, busy_ns / 1e9, idle_for, of))
    return PoolStats(tuple(workers), pending, running, restarts, recycled, leaving)

# SPDX-License-Identifier: BSD-3-Clause
"""`Pool.stats()`: what a pool was doing at one moment."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PoolStats", "WorkerStats"]

# As runtime::LinkState.
_STATES = ("starting", "running", "leaving", "leaving")


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker's place. `pid` is None while it starts; `busy_time` is in seconds."""

    rank: int
    pid: int | None
    state: str  # "starting", "idle", "busy" or "leaving"
    tasks_done: int
    busy_time: float


@dataclass(frozen=True, slots=True)
class PoolStats:
    """`tasks_done` and `busy_time` of a rank go on counting when its worker is replaced."""

    workers: tuple[WorkerStats, ...]
    pending: int  # waiting, in the backlog or in a worker's ring
    running: int
    restarts: int  # workers that were replaced


def make_stats(
    pending: int,
    running: int,
    restarts: int,
    rows: list[tuple[int, int, int, int, int, int]],
) -> PoolStats:
    workers = []
    for rank, pid, state, outstanding, done, busy_ns in rows:
        name = _STATES[state]
        if name == "running":
            name = "busy" if outstanding else "idle"
        workers.append(WorkerStats(rank, pid or None, name, done, busy_ns / 1e9))
    return PoolStats(tuple(workers), pending, running, restarts)

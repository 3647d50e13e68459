# SPDX-License-Identifier: BSD-3-Clause
"""Words for how a worker or a pool came to its end; called by `_core`."""

from __future__ import annotations

import os
import signal

from ._broken import PoolBroken, WorkerDied

__all__ = ["pool_broken", "worker_died"]


def worker_died(
    pid: int,
    rank: int,
    wait_status: int,
    status_known: bool,
    broke_protocol: bool,
    peak_rss: int,
    ran_seconds: float,
) -> WorkerDied:
    exitcode: int | None = None
    number: int | None = None
    if not status_known:
        how = "in a way that nobody saw"
    elif os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        how = f"by signal {number} ({_signal_name(number)})"
    else:
        exitcode = os.waitstatus_to_exitcode(wait_status)
        how = f"with exit code {exitcode}"
    if broke_protocol:
        how = "by the pool: it had written nonsense to its shared memory"
    detail = f"pid {pid}, rank {rank}"
    if peak_rss:
        detail += f", peak memory {peak_rss / 2**20:.0f} MiB"
    message = (
        f"the worker that ran this task ended {how} after {ran_seconds:.3g} s ({detail}). "
        "Only this task is lost; the pool goes on."
    )
    return WorkerDied(message, exitcode=exitcode, signal=number, pid=pid, rank=rank)


def pool_broken(reason: str, failure: bytes) -> PoolBroken:
    error = PoolBroken(f"the pool is broken: {reason}")
    if failure:
        from ._pickling import load_exception

        error.__cause__ = load_exception(failure)
    return error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"

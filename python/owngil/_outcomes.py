# SPDX-License-Identifier: BSD-3-Clause
"""Words for how a worker or a pool came to its end; called by `_core`."""

from __future__ import annotations

import os
import signal

from ._broken import PoisonTask, PoolBroken, WorkerDied
from ._errors import TaskTimeout

__all__ = ["pool_broken", "task_timed_out", "tell_attempts", "worker_died"]


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


def task_timed_out(
    pid: int, rank: int, limit: float, of_deadline: bool, begun: bool, ran_seconds: float
) -> TaskTimeout:
    if not begun:
        return TaskTimeout(
            f"the deadline of {limit:g} s after its submission has passed; it had not begun",
            limit=limit,
            of_deadline=True,
        )
    which = f"limit of {limit:g} s"
    if of_deadline:
        which = f"deadline of {limit:g} s after its submission"
    return TaskTimeout(
        f"the {which} has passed; it had run for {ran_seconds:.3g} s (pid {pid}, rank {rank}). "
        "Its worker was stopped; no other task is lost.",
        limit=limit,
        of_deadline=of_deadline,
        seconds=ran_seconds,
        pid=pid,
        rank=rank,
    )


def tell_attempts(error: BaseException, attempts: list[BaseException]) -> BaseException:
    """The error of a task's last run, with those of the runs before it: `attempts` and notes."""
    if type(error) is WorkerDied and all(isinstance(one, WorkerDied) for one in attempts):
        died = error
        error = PoisonTask(f"given up after {len(attempts) + 1} runs: {died}")
        error.__dict__.update(died.__dict__)
    error.attempts = tuple(attempts)  # type: ignore[attr-defined]
    for number, attempt in enumerate(attempts, 1):
        text = str(attempt).partition("\n")[0]
        error.add_note(f"run {number} ended with {type(attempt).__name__}: {text}")
    return error


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

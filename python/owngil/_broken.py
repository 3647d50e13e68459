# SPDX-License-Identifier: BSD-3-Clause
"""The exceptions of dead workers: subclasses of the standard pool's. See `_errors.py`."""

from __future__ import annotations

from typing import Any

try:
    from concurrent.futures.process import BrokenProcessPool
except RuntimeError:
    # The interpreter is about to end, and the module wants to be called then: too late for that.
    import threading

    _register_atexit = threading._register_atexit  # type: ignore[attr-defined]
    threading._register_atexit = lambda *_, **__: None  # type: ignore[attr-defined]
    try:
        from concurrent.futures.process import BrokenProcessPool
    finally:
        threading._register_atexit = _register_atexit  # type: ignore[attr-defined]

__all__ = ["BrokenProcessPool", "PoisonTask", "PoolBroken", "WorkerDied"]


class WorkerDied(BrokenProcessPool):
    """The worker that had begun this task died; the pool lives on.

    One of `exitcode` and `signal` tells how, unless nobody could find out.
    task_id, task_name: the pool's number of the task, and module and name of its function.
    item: of a map, the index of the item; else None.
    seconds: how long it had run.
    pid, rank, peak_rss: of the worker; the last is the most memory that it ever had, in bytes.
    oom: whether the kernel has probably killed the worker for lack of memory, because the count
        of such kills has risen; None: nobody counts them here, or nobody saw the worker's end.
    collateral: True if it died because another worker in the same process was to blame, as with
        kind="interpreter"; None: nobody can tell who was.
    stack: the Python stacks of the worker's threads when a signal ended it, most recent call
        first, as `faulthandler` writes them; empty if it left none, as SIGKILL has it.
    stderr: the last that the worker wrote there, as far as it was forwarded.
    """

    def __init__(
        self,
        message: str,
        *,
        exitcode: int | None = None,
        signal: int | None = None,
        pid: int = 0,
        rank: int = -1,
        task_id: int = 0,
        task_name: str = "",
        item: int | None = None,
        seconds: float = 0.0,
        peak_rss: int = 0,
        oom: bool | None = None,
        collateral: bool | None = False,
        stack: str = "",
        stderr: str = "",
    ) -> None:
        super().__init__(message)
        self.exitcode = exitcode
        self.signal = signal
        self.pid = pid
        self.rank = rank
        self.task_id = task_id
        self.task_name = task_name
        self.item = item
        self.seconds = seconds
        self.peak_rss = peak_rss
        self.oom = oom
        self.collateral = collateral
        self.stack = stack
        self.stderr = stderr

    def __reduce__(self) -> tuple[Any, ...]:
        # The keyword arguments are attributes, and those travel as the state.
        return type(self), self.args, self.__dict__


class PoisonTask(WorkerDied):
    """A task that its worker did not survive as often as it was allowed to run; it is given up."""


class PoolBroken(BrokenProcessPool):
    """The pool cannot run tasks any more: its initializer failed, or its workers keep dying.

    `__cause__` is what the initializer raised, or the last death; `__notes__` list the last few.
    """


WorkerDied.__module__ = PoisonTask.__module__ = PoolBroken.__module__ = "owngil"

# SPDX-License-Identifier: BSD-3-Clause
"""The exceptions of dead workers: subclasses of the standard pool's. See `_errors.py`."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from typing import Any

__all__ = ["BrokenProcessPool", "PoisonTask", "PoolBroken", "WorkerDied"]


class WorkerDied(BrokenProcessPool):
    """The worker that had begun this task died; the pool lives on.

    One of `exitcode` and `signal` tells how, unless nobody could find out.
    """

    def __init__(
        self,
        message: str,
        *,
        exitcode: int | None = None,
        signal: int | None = None,
        pid: int = 0,
        rank: int = -1,
    ) -> None:
        super().__init__(message)
        self.exitcode = exitcode
        self.signal = signal
        self.pid = pid
        self.rank = rank

    def __reduce__(self) -> tuple[Any, ...]:
        # The keyword arguments are attributes, and those travel as the state.
        return type(self), self.args, self.__dict__


class PoisonTask(WorkerDied):
    """A task that its worker did not survive as often as it was allowed to run; it is given up."""


class PoolBroken(BrokenProcessPool):
    """The pool cannot run tasks any more: its initializer failed, or its workers keep dying."""


WorkerDied.__module__ = PoisonTask.__module__ = PoolBroken.__module__ = "owngil"

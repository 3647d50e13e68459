# SPDX-License-Identifier: BSD-3-Clause
"""The exceptions that a user of the package can meet.

`WorkerDied`, `PoisonTask` and `PoolBroken` are subclasses of `BrokenProcessPool`, so that code
written for the standard pool catches them. Its module costs 12-20 ms to import (it brings in
multiprocessing), so they are made in `_broken.py`, which is imported when somebody first asks for
one of them: when a worker has died, or when an `except owngil.WorkerDied` is evaluated because
something was raised. Whoever writes `except BrokenProcessPool` has imported that module anyway, and
it is the same class.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._broken import PoisonTask as PoisonTask
    from ._broken import PoolBroken as PoolBroken
    from ._broken import WorkerDied as WorkerDied

__all__ = [
    "NeedsProcess",
    "PoisonTask",
    "PoolBroken",
    "RemoteError",
    "TaskCancelled",
    "TaskTimeout",
    "WorkerDied",
]


class TaskCancelled(BaseException):
    """Raised inside a task that was told to stop: by `future.cancel(running=True)` and its like.

    Whoever waits for the task sees `concurrent.futures.CancelledError`.
    """


class TaskTimeout(TimeoutError):
    """The task's `timeout`, or its `deadline`, has passed; its worker was stopped.

    limit: seconds that it had. of_deadline: counted from its submission, else from when it had
    begun. seconds: for how long it had run; None: it had not begun. pid, rank: of its worker;
    None: it had none. stack: where it was, as far as that could be had. task_id, task_name, item:
    as of `WorkerDied`.
    """

    def __init__(
        self,
        message: str,
        *,
        limit: float = 0.0,
        of_deadline: bool = False,
        seconds: float | None = None,
        pid: int | None = None,
        rank: int | None = None,
        stack: str = "",
        task_id: int = 0,
        task_name: str = "",
        item: int | None = None,
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.of_deadline = of_deadline
        self.seconds = seconds
        self.pid = pid
        self.rank = rank
        self.stack = stack
        self.task_id = task_id
        self.task_name = task_name
        self.item = item

    def __reduce__(self) -> tuple[Any, ...]:
        # The keyword arguments are attributes, and those travel as the state.
        return type(self), self.args, self.__dict__


class NeedsProcess(RuntimeError):
    """A call in a pool with kind="auto" had begun in an interpreter and needs a process.

    It has run in part. `what` CPython refused it: "module NAME", or in CPython's own words. What
    the task raised then, if anything, is the `__cause__`.
    """

    def __init__(self, message: str, *, what: str = "") -> None:
        super().__init__(message)
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, self.__dict__


class RemoteError(Exception):
    """Stands for an exception, or for a result, that could not travel from the worker.

    `type_name` and `message` are those of the exception; `traceback` is the worker's, as text.
    """

    def __init__(self, type_name: str, message: str, traceback: str = "") -> None:
        super().__init__(type_name, message, traceback)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name

    def __reduce__(self) -> tuple[Any, ...]:
        also = tuple(base for base in type(self).__bases__ if base is not RemoteError)
        also = () if type(self) is RemoteError else also
        return remote_error, (self.type_name, self.message, self.traceback, also)


def remote_error(
    type_name: str, message: str, traceback: str, also: tuple[type[BaseException], ...] = ()
) -> RemoteError:
    """A RemoteError that is caught, besides, by whoever expects one of `also`.

    That is what the standard pool raises in its stead: a pickling error, or BrokenProcessPool.
    """
    kind = _mixed.get(also, RemoteError)
    if also and kind is RemoteError:
        try:
            kind = type("RemoteError", (RemoteError, *also), {"__module__": "owngil"})
            error: RemoteError = kind(type_name, message, traceback)
        except TypeError:  # they cannot be one class, or do not let themselves be made so
            return RemoteError(type_name, message, traceback)
        _mixed[also] = kind
        return error
    return kind(type_name, message, traceback)


_mixed: dict[tuple[type[BaseException], ...], type[RemoteError]] = {}


class _RemoteTraceback(Exception):
    """The worker's traceback as text; shown above the local one, as the cause of the exception."""

    def __init__(self, tb: str) -> None:
        super().__init__(tb)
        self.tb = tb

    def __str__(self) -> str:
        return self.tb


for _kind in (NeedsProcess, RemoteError, TaskCancelled, TaskTimeout, _RemoteTraceback):
    _kind.__module__ = "owngil"


def __getattr__(name: str) -> Any:
    if name in ("PoisonTask", "PoolBroken", "WorkerDied"):
        from . import _broken

        return getattr(_broken, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

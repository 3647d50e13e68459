# SPDX-License-Identifier: BSD-3-Clause
"""A parallel runtime for Python: workers that each own their interpreter and its GIL.

    import owngil

    with owngil.Pool() as pool:
        print(sum(pool.map(pow, range(1000), range(1000))))

`Pool` is a `concurrent.futures.Executor`. Everything is imported when it is first used: a worker
that only runs importable functions on plain values needs next to nothing of this package.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._compare import compare as compare
    from ._contention import GilContention as GilContention
    from ._contention import gil_contention as gil_contention
    from ._errors import NeedsProcess as NeedsProcess
    from ._errors import PoisonTask as PoisonTask
    from ._errors import PoolBroken as PoolBroken
    from ._errors import RemoteError as RemoteError
    from ._errors import TaskCancelled as TaskCancelled
    from ._errors import TaskTimeout as TaskTimeout
    from ._errors import WorkerDied as WorkerDied
    from ._future import Future as Future
    from ._options import PoolOptions as PoolOptions
    from ._pool import Pool as Pool
    from ._shared import Shared as Shared
    from ._shared import buffer as buffer
    from ._shared import empty as empty
    from ._shared import zeros as zeros
    from ._stats import PoolStats as PoolStats
    from ._stats import WorkerStats as WorkerStats
    from ._trace import trace as trace
    from ._worker import Identity as Identity

__all__ = [
    "Future",
    "GilContention",
    "Identity",
    "NeedsProcess",
    "PoisonTask",
    "Pool",
    "PoolBroken",
    "PoolOptions",
    "PoolStats",
    "RemoteError",
    "Shared",
    "TaskCancelled",
    "TaskTimeout",
    "WorkerDied",
    "WorkerStats",
    "buffer",
    "cancelled",
    "compare",
    "empty",
    "gil_contention",
    "trace",
    "worker",
    "zeros",
]

_HOMES = {
    "Future": "_future",
    "Identity": "_worker",
    "NeedsProcess": "_errors",
    "PoisonTask": "_errors",
    "Pool": "_pool",
    "PoolBroken": "_errors",
    "PoolOptions": "_options",
    "PoolStats": "_stats",
    "RemoteError": "_errors",
    "Shared": "_shared",
    "TaskCancelled": "_errors",
    "TaskTimeout": "_errors",
    "WorkerDied": "_errors",
    "WorkerStats": "_stats",
    "GilContention": "_contention",
    "buffer": "_shared",
    "compare": "_compare",
    "empty": "_shared",
    "gil_contention": "_contention",
    "trace": "_trace",
    "zeros": "_shared",
}


def worker() -> "Identity | None":
    """Inside a task: which worker runs it (rank, pid, kind, pool). Elsewhere: None."""
    from ._worker import identity

    return identity()


def cancelled() -> bool:
    """Inside a task: whether it was told to stop. Elsewhere: False.

    For code that TaskCancelled does not reach in time: loops in C, other threads of the task.
    """
    from ._core import task_is_cancelled

    return task_is_cancelled()


def __getattr__(name: str) -> object:
    if name == "__version__":
        from ._core import version

        return version
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'owngil' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"owngil.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})

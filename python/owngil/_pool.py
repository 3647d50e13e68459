# SPDX-License-Identifier: BSD-3-Clause
"""`Pool`: an executor whose workers each own an interpreter and its GIL.

The C half (`python/binding/pool.cpp`) submits; this one takes options, and opens and closes.
"""

from __future__ import annotations

import _signal  # `signal` makes classes of them, which takes half a millisecond
import os
import sys
import threading
import time
import weakref
from concurrent.futures import Executor

from . import _core, _dispatcher, _future, _output  # noqa: F401 - _future tells _core what it is
from ._arena_size import arena_size
from ._bootstrap import launch_spec
from ._cpus import usable_cpus
from ._functions import FunctionTable
from ._memory import usable_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from multiprocessing.context import BaseContext
    from typing import Any, TypeVar

    from ._bootstrap import Role
    from ._options import PoolOptions
    from ._shared import Shared
    from ._stats import PoolStats

    T = TypeVar("T")

__all__ = ["Pool"]

KINDS = ("process", "interpreter", "auto", "thread")
STARTS = ("template", "spawn")
ORPHANS = ("kill", "keep")

# Of the memory that there is, the pool's arguments may take up one part in so many.
_SHARE = 2

# How long a worker may spin for its next task before it sleeps, if a CPU is free for it.
# Shorter than a wake-up takes it would be worse than nothing: 40-80 us on virtual machines.
_SPIN_NS = 100_000

# Workers lost with no task to blame, for each worker that the pool is to have, before it breaks.
# One for each may come at once, when somebody kills all workers or the template dies; more is a
# pattern. Where none can be started it takes about half a second, so a user sees the cause soon.
_RESTARTS_FOR_EACH = 4
_NO_LIMIT = (1 << 64) - 1  # as runtime::RestartLimit
_FOR_EVER = 1 << 62

# How long a killed worker may take to be gone, and callbacks to be called, before shutdown() with a
# timeout returns without them.
_DYING_S = 1.0
# At the interpreter's exit, how long everything that was started may take to be gone; and if an
# interrupt is what ends the program.
_LEAVING_S = 2.0
_HURRIED_S = 0.1

_OPERATIONS = {"terminate": _signal.SIGTERM, "kill": _signal.SIGKILL}  # of 3.14's pool

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_counter = 0


class Pool(_core.PoolBase, Executor):
    """A pool of workers that run Python functions in parallel, as `ProcessPoolExecutor` does.

    max_workers: how many; default: the CPUs that this process may use (affinity, cgroup quota).
    mp_context: for compatibility; its method `spawn` means start="spawn", others "template".
    initializer, initargs: called in each worker before its first task. multiprocessing's locks
        and queues may be among initargs, unless they are of the fork context.
    max_tasks_per_child: a worker is replaced after so many tasks; default: never.
    max_memory_per_child: a worker that has more private memory than this, in bytes, after a task
        is replaced; default: no limit.
    idle_timeout: a worker that has had nothing to do for so many seconds leaves. Down to none,
        and they are started again when there is work. Default: they stay.
    max_restarts, restart_window: more than so many workers lost within so many seconds, with no
        task to blame (they ended while idle, or could not be started), break the pool. What a
        task did to its worker does not count. "auto": 4 for each worker, which even all of them
        killed at once does not reach; None: no limit.
    kind: "process"; "interpreter" (workers that are interpreters with a GIL of their own, each in
        a thread of a process that they share; CPython 3.13 or later); "auto" (interpreters, and
        processes for what they cannot run, started when there is such a call; `explain` tells
        which); or "thread" (the baseline with a single GIL, in this process).
    hosts: with interpreters, how many processes share the workers (default 1). What crashes
        one takes along what the other workers in it run: `WorkerDied.collateral`.
    start: "template" forks workers from a small process that was started for the purpose;
        "spawn" starts a Python for each, for libraries that must not be forked.
    preload: modules that the template imports, so that workers need not.
    threads_per_worker: limit for BLAS and OpenMP threads in a worker; default CPUs // workers.
    forward_output: what tasks print comes out at this process's `sys.stdout` and `sys.stderr`, and
        their records of `logging` go to its loggers; False: workers have this process's own
        descriptors 1 and 2, and log by themselves.
    orphans: what becomes of processes that a worker has started once that worker is gone: "kill"
        (after 0.2 s, in which they may end by themselves) or "keep", until this process ends.
    arena_limit: bytes of shared memory that arguments of calls may take up together, small ones
        aside. While that is used up `submit` waits, if something in flight can free some, else it
        raises MemoryError, as it does on a thread with a running event loop; `map` takes no more
        from its iterables than half of it, and begins no more while as much waits to be read.
        Default: half of the memory that this process may use (machine, cgroup).
    name: of the pool, as `owngil.worker().pool` and thread names show it.

    A worker that dies fails only the task that it had begun, with `WorkerDied`, and is replaced.
    Raises ValueError or TypeError for what is not allowed, OSError if the system refuses.
    """

    _kind: str
    _no_interpreters: str  # why a pool that would have some has none
    _max_workers: int
    _initargs_fds: Sequence[int] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Pool:
        if kwargs.get("kind") != "thread":
            return super().__new__(cls)
        from ._threads import ThreadPool

        if cls is Pool:
            return super().__new__(ThreadPool)
        if not issubclass(cls, ThreadPool):
            cls = type(cls.__name__, (cls, ThreadPool), {})  # a user's own subclass
        return super().__new__(cls)

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        idle_timeout: float | None = None,
        max_restarts: int | str | None = "auto",
        restart_window: float = 10.0,
        kind: str = "process",
        hosts: int | None = None,
        start: str = "template",
        preload: Sequence[str] = (),
        threads_per_worker: int | None = None,
        forward_output: bool = True,
        orphans: str = "kill",
        arena_limit: int | None = None,
        name: str | None = None,
    ) -> None:
        self._check(
            max_workers, initializer, max_tasks_per_child, kind, start, threads_per_worker, orphans
        )
        self._check_life(max_memory_per_child, idle_timeout, max_restarts, restart_window)
        if mp_context is not None:
            start = "spawn" if mp_context.get_start_method() == "spawn" else "template"
        preload = _module_names(preload)
        self._check_flag("forward_output", forward_output)
        self._kind = kind
        hosts, reuses_places, self._no_interpreters = _hosting(kind, hosts)
        self._check_limit(arena_limit)
        cpus = usable_cpus()
        self._max_workers = workers = max_workers or cpus
        self._resizing = threading.Lock()
        self._name = name or _next_name()
        self._initargs_fds = []
        self._initargs = initargs  # a lock's name in the system goes away with it
        limit = str(threads_per_worker or max(1, cpus // workers))
        # Imported now: there may be no descriptors left to read it later.
        from ._context import THREAD_LIMITS

        environ = {variable: limit for variable in THREAD_LIMITS if variable not in os.environ}
        argv, env, guardian, config = launch_spec(
            _role(start, hosts), hosts=hosts > 0, preload=preload, environ=environ
        )
        fallback: tuple[list[bytes], bytes] = ([], b"")
        if kind == "auto" and hosts > 0:
            spec = launch_spec(_role(start, 0), preload=preload, environ=environ)
            fallback = (spec[0], spec[3])
        blobs = (self._add_blob, self._drop_blob, self._share_unfitness)
        self._functions = FunctionTable(*map(_weakly, blobs))
        self._context_number = 0
        _at_exit_once()
        first: Any = None
        if initializer is not None:
            from ._mp import pack_initializer

            first, self._initargs_fds = pack_initializer(initializer, initargs)
        weak = weakref.ref(self)
        completions = self._open(
            workers=workers,
            cpus=cpus,
            max_tasks_per_child=max_tasks_per_child or 0,
            max_memory_per_child=min(max_memory_per_child or 0, _FOR_EVER),
            idle_timeout_ns=_nanoseconds(idle_timeout) if idle_timeout is not None else 0,
            max_restarts=_restarts(max_restarts),
            restarts_for_each=_RESTARTS_FOR_EACH if max_restarts == "auto" else 0,
            restart_window_ns=_nanoseconds(restart_window),
            arena_size=arena_size(workers + 1),
            arena_limit=min(arena_limit or usable_memory() // _SHARE, _FOR_EVER),
            spin_ns=_SPIN_NS if cpus > 1 else 0,
            argv=argv,
            env=env,
            guardian=guardian,
            config=config,
            fallback_argv=fallback[0],
            fallback_config=fallback[1],
            spawn=start == "spawn",
            hosts=min(hosts, workers),
            reuses_places=reuses_places,
            name=self._name,
            fds=self._initargs_fds,
            number=self._functions.number,
            number_lasts=self._functions.lasts,
            context=lambda: _capture(weak),
            forward_output=forward_output,
            kill_orphans=orphans == "kill",
        )
        if forward_output:
            _output.start()
        self._dispatcher = _dispatcher.Dispatcher(completions, self._name)
        self._set_dispatcher(self._dispatcher)
        self._start(self._functions.number(first) if first is not None else 0)
        self._first = first
        _pools.add(self)

    @staticmethod
    def _check(
        max_workers: Any,
        initializer: Any,
        max_tasks_per_child: Any,
        kind: Any,
        start: Any,
        threads_per_worker: Any,
        orphans: Any,
    ) -> None:
        for label, count in (
            ("max_workers", max_workers),
            ("max_tasks_per_child", max_tasks_per_child),
            ("threads_per_worker", threads_per_worker),
        ):
            if count is not None:
                _check_count(label, count, "an integer or None")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, not {initializer!r}")
        for label, given, allowed in (
            ("kind", kind, KINDS),
            ("start", start, STARTS),
            ("orphans", orphans, ORPHANS),
        ):
            if given not in allowed:
                raise ValueError(f"{label} must be one of {', '.join(allowed)}, not {given!r}")

    @staticmethod
    def _check_flag(label: str, given: Any) -> None:
        if not isinstance(given, bool):
            raise TypeError(f"{label} must be True or False, not {given!r}")

    @staticmethod
    def _check_limit(arena_limit: Any) -> None:
        if arena_limit is not None:
            _check_count("arena_limit", arena_limit, "an integer or None")

    @staticmethod
    def _check_life(
        max_memory_per_child: Any, idle_timeout: Any, max_restarts: Any, restart_window: Any
    ) -> None:
        if max_memory_per_child is not None:
            _check_count("max_memory_per_child", max_memory_per_child, "an integer or None")
        if max_restarts is not None and max_restarts != "auto":
            if not isinstance(max_restarts, int) or isinstance(max_restarts, bool):
                what = 'an integer, "auto" or None'
                raise TypeError(f"max_restarts must be {what}, not {max_restarts!r}")
            if max_restarts < 0:
                raise ValueError(f"max_restarts must not be less than 0, not {max_restarts}")
        if idle_timeout is not None:
            _check_seconds("idle_timeout", idle_timeout, "a number of seconds or None")
        _check_seconds("restart_window", restart_window, "a number of seconds")

    @staticmethod
    def _check_map(fn: Any, chunksize: int | None, buffersize: Any) -> None:
        if not callable(fn):
            raise TypeError(f"map() takes a callable, not {fn!r}")
        if chunksize is not None and chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call fn on the items of the iterables, in parallel; yield the results in their order.

        timeout: seconds from this call until the last result; then TimeoutError.
        chunksize: items that travel together; None: chosen by measured duration.
        buffersize: take so many items ahead of the results that were yielded, so that iterables
            may be endless; None: take all of them at once.

        An item that fails raises in its turn, and the iterator goes on behind it; a worker's
        death fails the one item that it was at. `close()`, or letting the iterator go, cancels
        what has not begun.
        """
        self._check_map(fn, chunksize, buffersize)
        return self._map(fn, iterables, timeout, chunksize or 0, buffersize or 0)

    def options(
        self,
        *,
        timeout: float | None = None,
        deadline: float | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float = 0.0,
        cancel_running: bool = False,
        grace: float = 1.0,
    ) -> PoolOptions:
        """A view of this pool whose `submit` and `map` run calls on these terms. Views compose:
        `pool.options(timeout=2).options(retries=3)`.

        timeout: seconds that a call, or each item of a map, may run; counted from when it has
            begun. Then its worker is killed and it fails with `TaskTimeout`.
        deadline: seconds from its submission, the time in the queue included; in a map, of all.
        retries: how often it may run again, after its worker has died or, with `retry_on`, after
            these exceptions (WorkerDied and TaskTimeout may be among them). The last error has
            the others in its `attempts`. A call that no run of its worker survives fails with
            `PoisonTask`. What had not begun when a worker died always runs, and costs no retry.
        backoff: seconds before the first retry, doubled before each further one.
        cancel_running: `cancel()` stops a call that has begun, too, as `cancel(running=True)`.
        grace: seconds that a call has to end once it was told to stop; then its worker is killed.

        Raises ValueError or TypeError for what is not allowed.
        """
        from ._options import PoolOptions

        return PoolOptions(
            self,
            {
                "timeout": timeout,
                "deadline": deadline,
                "retries": retries,
                "retry_on": retry_on,
                "backoff": backoff,
                "cancel_running": cancel_running,
                "grace": grace,
            },
        )

    def kill(self, future: Future[Any]) -> bool:
        """Kill (SIGKILL) the worker that runs this call, now; other calls are not touched.

        Returns whether the future ends as cancelled: False, if it has ended otherwise already.
        One that has not begun is only cancelled.
        """
        return self._kill(future)

    def share(self, value: object) -> Shared:
        """Put a value's large buffers into shared memory, once, for any number of tasks and pools.

        Where what this returns is an argument, or part of one, the task finds the value itself, its
        arrays read-only and not copied. What was made by `owngil.empty()`, `zeros()` or `buffer()`,
        and the result of a task, is shared where it lies, unless you have written to the result:
        what you write to either afterwards is yours alone. The memory is freed when it is closed
        (`with`, `close()`) or let go of, and no task looks at it any more. What owns its memory,
        such as bytes, is a copy in each task.
        Raises MemoryError if there is no shared memory for it, what pickling raises if it cannot be
        pickled.
        """
        from ._shared import Shared

        return Shared(value)

    def resize(self, max_workers: int) -> None:
        """From now on have so many workers; returns at once.

        More are started now. Of those that are too many, the highest ranks leave: when they are
        idle, or have ended their present task; what waits for them runs elsewhere. Any thread may
        call this at any time.
        Raises RuntimeError after shutdown(), BrokenProcessPool if the pool is broken, OSError if
        the system refuses more workers: then there are as many as before.
        """
        _check_count("max_workers", max_workers, "an integer")
        with self._resizing:
            self._resize(max_workers)
            self._max_workers = max_workers

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None
    ) -> None:
        """Accept no more tasks, and let the workers go once what was submitted is done.

        wait: return only when all is done and shown, callbacks included.
        cancel_futures: cancel what no worker has begun.
        timeout: seconds to wait; then the workers are killed: what they run fails with
            `WorkerDied`, and what has not begun is cancelled.

        A KeyboardInterrupt ends the waiting and nothing else.
        """
        if timeout is not None and not wait:
            raise ValueError("a timeout is for waiting: shutdown(wait=True, timeout=...)")
        self._shutdown(cancel_futures)
        if not wait:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._wait_ended(timeout):
            self._end_workers(_signal.SIGKILL)
            self._wait_ended(_DYING_S)
        _output.show_all()
        left = None if deadline is None else max(deadline - time.monotonic(), _DYING_S)
        self._dispatcher.join(left)
        self._functions.close()
        self._close_fds()

    def terminate_workers(self) -> None:
        """Shut down without waiting, cancel what has not begun, and send SIGTERM to each worker.

        A task whose worker dies of it fails with `WorkerDied`. As in Python 3.14.
        """
        self._force_shutdown(operation="terminate")

    def kill_workers(self) -> None:
        """Shut down without waiting, cancel what has not begun, and kill the workers (SIGKILL).

        What they run fails with `WorkerDied`. As in Python 3.14.
        """
        self._force_shutdown(operation="kill")

    def _force_shutdown(self, operation: str) -> None:
        if operation not in _OPERATIONS:
            raise ValueError(f"Unsupported operation: {operation!r}")
        self.shutdown(wait=False, cancel_futures=True)
        self._end_workers(_OPERATIONS[operation])

    def stats(self) -> PoolStats:
        """What the pool is doing now."""
        from ._stats import make_stats

        kind = self._kind
        if kind == "auto":
            kind = "process" if self._no_interpreters else "interpreter"
        return make_stats(*self._snapshot(), kind)

    def explain(self, fn: Callable[..., object]) -> str:
        """Where calls of this function run, and why, in a sentence.

        With kind="auto" that is known when it was called once: an interpreter to which a module
        that the function needs is refused leaves the call to a process.
        """
        if not callable(fn):
            raise TypeError(f"explain() takes a callable, not {fn!r}")
        from ._explaining import explain

        return explain(self, fn)

    @property
    def _broken(self) -> bool:
        return self._is_broken()

    def _close_fds(self) -> None:
        fds, self._initargs_fds = self._initargs_fds, []
        for fd in fds:
            os.close(fd)

    def __del__(self) -> None:
        self._close_fds()

    def __repr__(self) -> str:
        return f"<owngil.Pool {self._name!r}: {self._max_workers} workers>"


def _role(start: str, hosts: int) -> Role:
    if start == "template":
        return "template"
    return "host" if hosts else "worker"


def _hosting(kind: str, hosts: int | None) -> tuple[int, bool, str]:
    """(processes that the workers share, whether they are replaced there, why there are none).

    0 processes to share: each worker is one.
    """
    if hosts is not None:
        _check_count("hosts", hosts, "an integer or None")
    if kind not in ("interpreter", "auto"):
        if hosts is not None:
            raise ValueError(f'hosts is for kind="interpreter" or "auto", not for kind={kind!r}')
        return 0, False, ""
    from ._cpython import interpreters

    try:
        return hosts or 1, interpreters().end_in_place, ""
    except RuntimeError as error:
        if kind == "interpreter":
            raise
        return 0, False, str(error)


def _capture(weak: weakref.ref[Pool]) -> int:
    """The number of a blob of the present context; the former one is dropped."""
    pool = weak()
    if pool is None:
        raise RuntimeError("the pool is gone")
    from ._context import capture

    before = pool._context_number
    pool._context_number = pool._add_blob(capture(), b"")
    if before:
        pool._drop_blob(before)
    return pool._context_number


def _weakly(method: Any) -> Callable[..., Any]:
    """The same for what its pool has: it keeps the pool from going no longer than others do."""
    weak, name = weakref.ref(method.__self__), method.__name__

    def call(*arguments: Any) -> Any:
        pool = weak()
        return None if pool is None else getattr(pool, name)(*arguments)

    return call


def _check_count(label: str, count: Any, kind: str) -> None:
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"{label} must be {kind}, not {count!r}")
    if count <= 0:
        raise ValueError(f"{label} must be greater than 0, not {count}")


def _check_seconds(label: str, seconds: Any, kind: str) -> None:
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"{label} must be {kind}, not {seconds!r}")
    if not seconds > 0:  # NaN as well
        raise ValueError(f"{label} must be greater than 0, not {seconds}")


def _nanoseconds(seconds: float) -> int:
    return max(1, int(min(seconds * 1e9, _FOR_EVER)))


def _restarts(max_restarts: int | str | None) -> int:
    if max_restarts is None:
        return _NO_LIMIT
    return 0 if isinstance(max_restarts, str) else min(max_restarts, _FOR_EVER)


def _module_names(preload: Sequence[str]) -> list[str]:
    names = list(preload)
    if isinstance(preload, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"preload must be a sequence of module names, not {preload!r}")
    return names


def _next_name() -> str:
    global _counter
    _counter += 1
    return f"pool-{_counter}"


_registered = False


def _at_exit_once() -> None:
    global _registered
    if _registered:
        return
    # As the standard pools: before the interpreter joins its threads.
    threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
    os.register_at_fork(after_in_child=_after_fork)
    _registered = True


def _at_exit() -> None:
    limit = _HURRIED_S
    try:
        if _is_left_by_interrupt():
            _core.exit_by_interrupt()  # Python forgets about it when any thread evaluates a string
        else:
            _wait_for_pools()
            limit = _LEAVING_S
    except KeyboardInterrupt:
        _core.exit_by_interrupt()
        raise
    finally:
        _core.end_pools()
        _core.close_runtime(limit)
        _output.close()
        _dispatcher.join_all(limit)
        _core.let_threads_out(_HURRIED_S)


def _wait_for_pools() -> None:
    for pool in list(_pools):
        pool.shutdown(wait=True)
    _core.wait_pools()
    _dispatcher.join_all()


def _is_left_by_interrupt() -> bool:
    """Whether it was Ctrl-C that ended the program; in a session it has ended a command only."""
    return isinstance(getattr(sys, "last_exc", None), KeyboardInterrupt) and not hasattr(sys, "ps1")


def _after_fork() -> None:
    _core.after_fork_in_child()
    _dispatcher.after_fork_in_child()
    _output.after_fork()
    _pools.clear()

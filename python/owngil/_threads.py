# SPDX-License-Identifier: BSD-3-Clause
"""`Pool(kind="thread")`: the baseline with a single GIL, behind the same face."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ._cpus import usable_cpus
from ._pool import Pool, _check_count, _next_name, _weakly
from ._worker import Identity, of_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ._stats import PoolStats

__all__ = ["ThreadPool"]

T = TypeVar("T")


class ThreadPool(Pool):
    """Threads of this process. What is about processes alone (start, preload, ...) is ignored.

    So is what ends workers: a thread that is idle costs little, and stays until the pool ends.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        max_memory_per_child: int | None = None,
        idle_timeout: float | None = None,
        max_restarts: int | str | None = "auto",
        restart_window: float = 10.0,
        kind: str = "thread",
        start: str = "template",
        preload: Any = (),
        threads_per_worker: int | None = None,
        forward_output: bool = True,
        orphans: str = "kill",
        arena_limit: int | None = None,
        name: str | None = None,
    ) -> None:
        self._check(
            max_workers, initializer, max_tasks_per_child, kind, start, threads_per_worker, orphans
        )
        self._check_flag("forward_output", forward_output)
        self._check_limit(arena_limit)
        self._check_life(max_memory_per_child, idle_timeout, max_restarts, restart_window)
        self._kind = "thread"
        self._max_workers = max_workers or usable_cpus()
        self._name = name or _next_name()
        self._initargs_fds = []
        self._lock = threading.Lock()
        self._rank_is_free = threading.Condition(self._lock)
        self._held: set[int] = set()  # ranks of the tasks that run
        self._threads = 0  # that have started
        self._done = [0] * self._max_workers
        self._busy_ns = [0] * self._max_workers
        self._initializer = initializer
        self._initargs = initargs
        self._executor = ThreadPoolExecutor(
            self._max_workers, thread_name_prefix=self._name, initializer=_weakly(self._enter)
        )

    def _enter(self) -> None:
        with self._lock:
            self._threads += 1
        if self._initializer is not None:
            self._initializer(*self._initargs)

    def _call(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        thread = threading.get_ident()
        with self._rank_is_free:
            while len(self._held) >= self._max_workers:  # it has become smaller
                self._rank_is_free.wait()
            rank = next(rank for rank in range(self._max_workers) if rank not in self._held)
            self._held.add(rank)
        of_threads[thread] = Identity(rank, os.getpid(), "thread", self._name)
        begun = time.monotonic_ns()
        try:
            return fn(*args, **kwargs)
        finally:
            del of_threads[thread]
            with self._rank_is_free:
                self._held.remove(rank)
                self._done[rank] += 1
                self._busy_ns[rank] += time.monotonic_ns() - begun
                self._rank_is_free.notify()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:  # type: ignore[override]
        if not callable(fn):
            raise TypeError(f"submit() takes a callable, not {fn!r} of type {type(fn).__name__}")
        return self._executor.submit(self._call, fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        self._check_map(fn, chunksize, buffersize)
        deadline = None if timeout is None else time.monotonic() + timeout
        items = zip(*iterables, strict=False)
        ahead = deque(self.submit(fn, *item) for item in islice(items, buffersize))
        return self._results(fn, items, ahead, deadline)

    def _results(
        self,
        fn: Callable[..., T],
        items: Iterator[tuple[Any, ...]],
        ahead: deque[Future[T]],
        deadline: float | None,
    ) -> Iterator[T]:
        try:
            while ahead:
                left = None if deadline is None else deadline - time.monotonic()
                result = [ahead.popleft().result(left)]
                ahead.extend(self.submit(fn, *item) for item in islice(items, 1))
                yield result.pop()  # what is yielded is the caller's alone
        finally:
            for future in ahead:
                future.cancel()

    def resize(self, max_workers: int) -> None:
        """From now on have so many threads at work; those that are too many take up no task."""
        _check_count("max_workers", max_workers, "an integer")
        executor = self._executor
        with executor._shutdown_lock, self._rank_is_free:
            if executor._shutdown:
                raise RuntimeError("cannot resize a pool after shutdown")
            more = max_workers - len(self._done)
            self._done += [0] * more
            self._busy_ns += [0] * more
            self._max_workers = max_workers
            if more > 0:
                executor._max_workers = max_workers
                for _ in range(min(more, executor._work_queue.qsize())):
                    executor._adjust_thread_count()
            self._rank_is_free.notify_all()

    def options(self, **terms: Any) -> Any:
        """Not to be had: nothing can stop a thread, or survive its crash."""
        raise NotImplementedError(
            'options() needs workers that can be stopped one by one: Pool(kind="process")'
        )

    def share(self, value: object) -> Any:
        raise NotImplementedError(
            "share() is for pools of processes: threads share every object already"
        )

    def kill(self, future: Any) -> bool:
        raise NotImplementedError(
            'kill() needs workers that can be stopped one by one: Pool(kind="process")'
        )

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None
    ) -> None:
        """As that of a pool of processes, but no thread can be killed: what runs, runs on."""
        if timeout is None:
            self._executor.shutdown(wait, cancel_futures=cancel_futures)
            return
        if not wait:
            raise ValueError("a timeout is for waiting: shutdown(wait=True, timeout=...)")
        self._executor.shutdown(wait=False, cancel_futures=cancel_futures)
        deadline = time.monotonic() + timeout
        for thread in list(self._executor._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _force_shutdown(self, operation: str) -> None:
        raise NotImplementedError(
            f'{operation}_workers() needs workers that can be ended: Pool(kind="process")'
        )

    def stats(self) -> PoolStats:
        from ._stats import PoolStats, WorkerStats

        with self._lock:
            pending = self._executor._work_queue.qsize()
            running = len(self._held)
            rows = tuple(
                WorkerStats(
                    rank,
                    os.getpid(),
                    self._state(rank),
                    self._done[rank],
                    self._busy_ns[rank] / 1e9,
                    None,
                    "thread",
                )
                for rank in range(self._max_workers)
            )
        return PoolStats(rows, pending, running, 0, 0, 0)

    def _state(self, rank: int) -> str:
        if rank in self._held:
            return "busy"
        return "idle" if rank < self._threads else "absent"

    @property
    def _broken(self) -> bool:
        return bool(self._executor._broken)

    def _close_fds(self) -> None:
        pass


if sys.version_info >= (3, 14) and not getattr(sys, "_is_gil_enabled", lambda: True)():
    ThreadPool.__doc__ = "Threads of this process, which has no GIL: they run in parallel."

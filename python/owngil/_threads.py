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
from ._pool import Pool, _next_name
from ._worker import Identity, of_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ._stats import PoolStats

__all__ = ["ThreadPool"]

T = TypeVar("T")


class ThreadPool(Pool):
    """Threads of this process. What is about processes alone (start, preload, ...) is ignored."""

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        kind: str = "thread",
        start: str = "template",
        preload: Any = (),
        threads_per_worker: int | None = None,
        forward_output: bool = True,
        name: str | None = None,
    ) -> None:
        self._check(max_workers, initializer, max_tasks_per_child, kind, start, threads_per_worker)
        self._check_flag("forward_output", forward_output)
        self._max_workers = max_workers or usable_cpus()
        self._name = name or _next_name()
        self._initargs_fds = []
        self._lock = threading.Lock()
        self._ranks: dict[int, int] = {}  # by thread
        self._done = [0] * self._max_workers
        self._busy_ns = [0] * self._max_workers
        self._running = 0
        self._initializer = initializer
        self._initargs = initargs
        self._executor = ThreadPoolExecutor(
            self._max_workers, thread_name_prefix=self._name, initializer=self._enter
        )

    def _enter(self) -> None:
        with self._lock:
            self._ranks[threading.get_ident()] = len(self._ranks)
        if self._initializer is not None:
            self._initializer(*self._initargs)

    def _call(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        thread = threading.get_ident()
        rank = self._ranks[thread]
        of_threads[thread] = Identity(rank, os.getpid(), "thread", self._name)
        begun = time.monotonic_ns()
        with self._lock:
            self._running += 1
        try:
            return fn(*args, **kwargs)
        finally:
            del of_threads[thread]
            with self._lock:
                self._running -= 1
                self._done[rank] += 1
                self._busy_ns[rank] += time.monotonic_ns() - begun

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

    def options(self, **terms: Any) -> Any:
        """Not to be had: nothing can stop a thread, or survive its crash."""
        raise NotImplementedError(
            'options() needs workers that can be stopped one by one: Pool(kind="process")'
        )

    def kill(self, future: Any) -> bool:
        raise NotImplementedError(
            'kill() needs workers that can be stopped one by one: Pool(kind="process")'
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait, cancel_futures=cancel_futures)

    def stats(self) -> PoolStats:
        from ._stats import PoolStats, WorkerStats

        with self._lock:
            threads = len(self._ranks)
            pending = self._executor._work_queue.qsize()
            running = self._running
            rows = tuple(
                WorkerStats(
                    rank,
                    os.getpid(),
                    "idle" if rank < threads else "starting",
                    self._done[rank],
                    self._busy_ns[rank] / 1e9,
                )
                for rank in range(self._max_workers)
            )
        return PoolStats(rows, pending, running, 0)

    @property
    def _broken(self) -> bool:
        return bool(self._executor._broken)

    def _close_fds(self) -> None:
        pass


if sys.version_info >= (3, 14) and not getattr(sys, "_is_gil_enabled", lambda: True)():
    ThreadPool.__doc__ = "Threads of this process, which has no GIL: they run in parallel."

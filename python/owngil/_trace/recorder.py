# SPDX-License-Identifier: BSD-3-Clause
"""`owngil.trace`: while it is open, submit and map of every pool record what becomes of tasks.

Off, it costs nothing: the methods are exchanged when it is opened, and given back afterwards.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Self

from .events import Submitted, Timeline, timeline, trace_events
from .sampling import Sampling
from .spool import STOP, append, finished, read
from .tasks import TracedItem, run_traced

__all__ = ["trace"]

_PATIENCE_S = 2.0
_one_at_a_time = threading.Lock()


class TracedResults:
    """An iterator of `map` that notes when each result was taken; else it is that iterator."""

    def __init__(self, results: Any, note: Callable[[], None]) -> None:
        self._results = results
        self._note = note

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            result = next(self._results)
        except StopIteration:
            raise
        except BaseException:  # an item that failed was taken, too
            self._note()
            raise
        self._note()
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._results, name)


class trace:  # noqa: N801 - a context manager that is called, as `open` is
    """Record who holds the GIL and who waits for it, here and in every worker, and the tasks.

        with owngil.trace("out.json"):
            ...

    path: written at the end in the Trace Event format; open it at ui.perfetto.dev.
    html: written as a page of its own, too.
    Afterwards `overhead` says what it cost, `cannot_see` what it missed, `timeline` what it found.
    Raises RuntimeError if another one is open.
    """

    timeline: Timeline

    def __init__(self, path: str | None = None, *, html: str | None = None) -> None:
        self._path = path
        self._html = html
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._submitted: dict[int, Submitted] = {}

    def __enter__(self) -> trace:
        if not _one_at_a_time.acquire(blocking=False):
            raise RuntimeError("a trace is being recorded already")
        self._spool = tempfile.mkdtemp(prefix="owngil-trace-")
        self._pid = os.getpid()
        self._began = time.monotonic_ns()
        try:
            self._sampling: Sampling | None = Sampling(self._spool)
        except NotImplementedError as error:
            self._sampling = None
            append(self._spool, {"blind": str(error)})
        self._exchange()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._restore()
            ended = time.monotonic_ns()
            with open(os.path.join(self._spool, STOP), "w"):
                pass
            if self._sampling is not None:
                self._sampling.stop()
            deadline = time.monotonic() + _PATIENCE_S
            while not finished(self._spool) and time.monotonic() < deadline:
                time.sleep(0.01)
            with self._lock:
                submitted = list(self._submitted.values())
            self.timeline = timeline(
                self._pid, self._began, ended, submitted, list(read(self._spool))
            )
            self._task_cost_s = self._cost_of_a_task()
        finally:
            shutil.rmtree(self._spool, ignore_errors=True)
            _one_at_a_time.release()
        if self._path is not None:
            with open(self._path, "w", encoding="utf-8") as file:
                json.dump(trace_events(self.timeline), file, separators=(",", ":"))
        if self._html is not None:
            from owngil._report.trace import timeline_page

            with open(self._html, "w", encoding="utf-8") as file:
                file.write(timeline_page(self.timeline))

    @property
    def cannot_see(self) -> list[str]:
        """What this trace says nothing about."""
        return self.timeline.cannot_see

    @property
    def overhead(self) -> str:
        """Measured: what recording took."""
        wall = max(1, self.timeline.ended - self.timeline.began)
        cpu_ns = self.timeline.sampling_cpu_ns
        cpu = sum(cpu_ns.values()) / wall
        return (
            f"sampling took {cpu:.1%} of one CPU in {len(cpu_ns)} processes; "
            f"a traced task costs {self._task_cost_s * 1e6:.0f} µs more in its worker"
        )

    def _repr_html_(self) -> str:
        from owngil._report.trace import timeline_html

        return timeline_html(self.timeline, self.overhead)

    # --- the exchanged methods ------------------------------------------------------------------

    def _exchange(self) -> None:
        from owngil._options import PoolOptions
        from owngil._pool import Pool
        from owngil._threads import ThreadPool

        # (class, method, what it had of its own); a ThreadPool's map submits each item.
        self._exchanged: list[tuple[Any, str, Any]] = []
        for owner in (Pool, ThreadPool, PoolOptions):
            self._put(owner, "submit", self._submit)
        for owner in (Pool, PoolOptions):
            self._put(owner, "map", self._map)

    def _put(self, owner: Any, name: str, traced: Any) -> None:
        original = getattr(owner, name)
        self._exchanged.append((owner, name, vars(owner).get(name)))

        def method(pool: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            return traced(original, pool, fn, *args, **kwargs)

        setattr(owner, name, method)

    def _restore(self) -> None:
        for owner, name, own in reversed(self._exchanged):
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)

    def _submit(self, original: Any, pool: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not callable(fn):
            return original(pool, fn, *args, **kwargs)  # which says so
        task = next(self._numbers)
        submitted = time.monotonic_ns()
        future = original(pool, run_traced, self._spool, self._pid, task, fn, args, kwargs)
        name = getattr(fn, "__qualname__", None) or type(fn).__name__
        row = threading.get_native_id()
        with self._lock:
            self._submitted[task] = Submitted(task, name, row, submitted, time.monotonic_ns())
        future.add_done_callback(partial(self._collected, task))
        return future

    def _collected(self, task: int, _: Any) -> None:
        now = time.monotonic_ns()
        with self._lock:
            self._submitted[task] = replace(self._submitted[task], collected=now)

    def _map(self, original: Any, pool: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not callable(fn) or not args:
            return original(pool, fn, *args, **kwargs)
        task = next(self._numbers)
        submitted = time.monotonic_ns()
        traced = TracedItem(self._spool, self._pid, task, fn)
        results = original(pool, traced, itertools.count(), *args, **kwargs)
        name = getattr(fn, "__qualname__", None) or type(fn).__name__
        row = threading.get_native_id()
        items: list[int] = []
        with self._lock:
            self._submitted[task] = Submitted(
                task, name, row, submitted, time.monotonic_ns(), items=items
            )
        return TracedResults(results, lambda: items.append(time.monotonic_ns()))

    def _cost_of_a_task(self) -> float:
        calls = 100
        began = time.perf_counter()
        for _ in range(calls):
            run_traced(self._spool, self._pid, 0, int, (), {})
        return (time.perf_counter() - began) / calls

# SPDX-License-Identifier: BSD-3-Clause
"""The worker's side of a traced task: when it began, when it was done, and in which thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from owngil import worker

from .sampling import sample_in_worker
from .spool import append

__all__ = ["TracedItem", "run_traced"]


def run_traced(
    spool: str,
    tracer: int,
    task: int,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    item: int | None = None,
) -> Any:
    """Call fn, and say so. `tracer` is the process that traces, which samples for itself; `item`
    is the place among those of a map, which is one task.
    """
    if os.getpid() != tracer:
        sample_in_worker(spool)
    begun = time.monotonic_ns()
    ok = False
    try:
        result = fn(*args, **kwargs)
        ok = True
        return result
    finally:
        record: dict[str, Any] = {
            "task": task,
            "name": getattr(fn, "__qualname__", None) or type(fn).__name__,
            "begun": begun,
            "done": time.monotonic_ns(),
            "thread": threading.get_native_id(),
            "ok": ok,
        }
        if item is not None:
            record["item"] = item
        me = worker()
        if me is not None and me.kind != "thread":  # a thread has another rank with each task
            record["rank"] = me.rank
        append(spool, record)


class TracedItem:
    """The function of a traced map, called with the place of the item and the item."""

    def __init__(self, spool: str, tracer: int, task: int, fn: Callable[..., Any]) -> None:
        self._spool = spool
        self._tracer = tracer
        self._task = task
        self._fn = fn

    def __call__(self, item: int, *args: Any) -> Any:
        return run_traced(self._spool, self._tracer, self._task, self._fn, args, {}, item)

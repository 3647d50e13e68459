# SPDX-License-Identifier: BSD-3-Clause
"""`Pool.options(...)`: a light view of a pool that runs calls on terms: limits, retries.

The C half (`python/binding/options.cpp`) submits; this one checks and composes.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from . import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ._pool import Pool

__all__ = ["PoolOptions"]

T = TypeVar("T")

_NS = 1_000_000_000
_LONGEST_S = 1e9  # a generation; more is for ever


class PoolOptions(_core.OptionsBase):
    """A view of a pool with `submit` and `map`, whose calls run on the terms given to `options`."""

    _pool: Pool
    _terms: dict[str, Any]

    def __init__(self, pool: Pool, terms: dict[str, Any]) -> None:
        checked = _check(terms)
        self._pool = pool
        self._terms = checked
        judge, died, timed_out = _retried(checked["retry_on"])
        number = 0
        if checked["retries"] and judge:
            number = pool._add_blob(_judge_blob(judge), b"")
            weakref.finalize(self, _drop, weakref.ref(pool), number).atexit = False
        self._set(
            pool,
            timeout_ns=_nanoseconds(checked["timeout"]),
            deadline_ns=_nanoseconds(checked["deadline"]),
            backoff_ns=_nanoseconds(checked["backoff"]),
            grace_ns=_nanoseconds(checked["grace"]),
            retries=checked["retries"],
            retry_on=number,
            retry_died=died,
            retry_timed_out=timed_out,
            cancel_running=checked["cancel_running"],
        )

    def options(self, **terms: Any) -> PoolOptions:
        """A view with these terms besides; the newer of two that contradict each other holds."""
        return PoolOptions(self._pool, {**self._terms, **terms})

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """As Pool.map; the terms are those of each item, a deadline that of all.

        timeout: as in Pool.map, of the iterator; the limit of an item is `options(timeout=...)`.
        """
        self._pool._check_map(fn, chunksize, buffersize)
        return self._map(fn, iterables, timeout, chunksize or 0, buffersize or 0)

    def __repr__(self) -> str:
        given = ", ".join(
            f"{name}={value!r}" for name, value in self._terms.items() if value != _DEFAULTS[name]
        )
        return f"<owngil.PoolOptions of {self._pool!r}: {given or 'nothing'}>"


_DEFAULTS: dict[str, Any] = {
    "timeout": None,
    "deadline": None,
    "retries": 0,
    "retry_on": None,
    "backoff": 0.0,
    "cancel_running": False,
    "grace": 1.0,
}


def _check(given: dict[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in _DEFAULTS:
            raise TypeError(f"options() has no {name!r}; it has {', '.join(_DEFAULTS)}")
    terms = {**_DEFAULTS, **given}
    for name in ("timeout", "deadline", "backoff", "grace"):
        terms[name] = _seconds(name, terms[name])
    retries = terms["retries"]
    if not isinstance(retries, int) or isinstance(retries, bool):
        raise TypeError(f"retries must be an integer, not {retries!r}")
    if retries < 0:
        raise ValueError(f"retries must not be negative: {retries}")
    terms["retries"] = min(retries, 2**31)
    if terms["retry_on"] is not None:
        terms["retry_on"] = _kinds(terms["retry_on"])
    terms["cancel_running"] = bool(terms["cancel_running"])
    return terms


def _seconds(name: str, value: Any) -> float | None:
    if value is None:
        if name in ("backoff", "grace"):
            raise TypeError(f"{name} must be a number of seconds, not None")
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    least_is_zero = name in ("backoff", "grace")
    if math.isnan(value) or value < 0 or (value == 0 and not least_is_zero):
        least = "at least" if least_is_zero else "more than"
        raise ValueError(f"{name} must be {least} 0 seconds, not {value!r}")
    return float(value)


def _nanoseconds(seconds: float | None) -> int:
    """0: no limit."""
    if seconds is None or seconds > _LONGEST_S:
        return 0
    return max(1, round(seconds * _NS)) if seconds else 0


def _kinds(retry_on: Any) -> tuple[type[BaseException], ...]:
    kinds = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"retry_on must be exception types, not {kind!r}")
    return kinds


def _retried(
    kinds: tuple[type[BaseException], ...] | None,
) -> tuple[tuple[type[BaseException], ...], bool, bool]:
    """(kinds that a worker is to look for, whether deaths are retried, whether timeouts are)."""
    if kinds is None:
        return (), True, False
    from ._broken import WorkerDied
    from ._errors import TaskTimeout

    # A type that stands for nothing but a death or a limit is never raised by a task.
    raised = tuple(kind for kind in kinds if not issubclass(kind, (WorkerDied, TaskTimeout)))
    return raised, issubclass(WorkerDied, kinds), issubclass(TaskTimeout, kinds)


def _judge_blob(kinds: tuple[type[BaseException], ...]) -> bytes:
    """For `owngil._worker.load_function`: (exception) -> whether it is one of them."""
    from functools import partial

    from ._functions import BY_VALUE
    from ._shipping import dumps
    from ._worker import is_one_of

    return BY_VALUE + dumps(partial(is_one_of, kinds))


def _drop(weak: weakref.ref[Pool], number: int) -> None:
    pool = weak()
    if pool is not None:
        pool._drop_blob(number)

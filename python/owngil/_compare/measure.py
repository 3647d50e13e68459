# SPDX-License-Identifier: BSD-3-Clause
"""Runs a function in every way, in turns, until the figures are narrow or the time is over."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from owngil import Pool, TaskTimeout
from owngil._cli.cpu_clock import cpu_seconds
from owngil._contention import HeldShare
from owngil._cpus import usable_cpus
from owngil._lab.calibration import Calibration
from owngil._lab.estimates import estimate
from owngil._lab.kinds import kinds, reason

from .comparison import Comparison, Row
from .sizes import bytes_per_task, private_bytes

__all__ = ["measure", "worker_counts"]

_MOST_ITEMS = 1_000_000
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 41
_ROUNDS = 10  # that the time is to suffice for
_NARROW = 0.10  # an interval of this share of its median is narrow enough
_LONGEST_CALL_SHARE = 0.1  # of the time that there is


class _Way:
    """One row while it is being measured."""

    def __init__(self, kind: str, pool: Pool | None, workers: int, start_seconds: float) -> None:
        self.pool = pool
        self.row = Row(kind, workers, [], [], 0, start_seconds)

    def pids(self) -> list[int]:
        if self.pool is None:
            return []
        mine = os.getpid()
        found = {worker.pid for worker in self.pool.stats().workers if worker.pid}
        return [pid for pid in found if pid != mine]

    def turn(self, fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """One turn; it counts."""
        pids = self.pids()
        cpu = time.process_time() + cpu_seconds(pids)
        began = time.perf_counter()
        results = list(map(fn, items) if self.pool is None else self.pool.map(fn, items))
        self.row.seconds.append(time.perf_counter() - began)
        self.row.cpu_seconds.append(time.process_time() + cpu_seconds(pids) - cpu)
        return results

    def width(self, rounds: Sequence[int]) -> float:
        """Of the interval of its time, in these rounds."""
        return estimate([self.row.seconds[number] for number in rounds]).width

    def finished(self, rounds: Sequence[int]) -> Row:
        """What these rounds have told."""
        row = self.row
        return Row(
            row.kind,
            row.workers,
            [row.seconds[number] for number in rounds],
            [row.cpu_seconds[number] for number in rounds],
            private_bytes(self.pids()),
            row.start_seconds,
        )


def worker_counts(most: int) -> list[int]:
    """All of them while they are few; then doubling, and the last."""
    return sorted({*range(1, min(most, 4) + 1), *(2**i for i in range(most.bit_length())), most})


def measure(
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int | None = None,
    seconds: float = 30.0,
    show: Callable[[str], None] = lambda text: None,
) -> Comparison:
    """As `owngil.compare`; `show` is told what runs now."""
    if not callable(fn):
        raise ValueError(f"compare() takes a function, not {fn!r}")
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise ValueError(f"workers must be a whole number of 1 or more, not {workers!r}")
    if not seconds > 0:
        raise ValueError(f"seconds must be more than 0, not {seconds!r}")
    given = _taken(items)
    counts = worker_counts(workers or usable_cpus())
    show("one call, for a first look")
    limit_s = max(1.0, _LONGEST_CALL_SHARE * seconds)
    call_seconds, cpu_share = _first_call(fn, given[0], limit_s)

    rows_expected = 1 + len(kinds(with_auto=True)) * len(counts)
    turn_seconds = 0.5 * seconds / (rows_expected * _ROUNDS)
    count = max(2 * counts[-1], int(turn_seconds / max(call_seconds, 1e-7)))
    chosen = _spread(given, count)

    end = time.monotonic() + seconds
    with _ways(fn, chosen[0], counts, show) as (ways, absent):
        agree = True
        with HeldShare() as gil:
            expected = _serial(fn, chosen)  # warm-up, and what all must find
        began = time.monotonic()
        for way in ways[1:]:
            show(f"warming up: {way.row.label}")
            assert way.pool is not None
            try:
                agree &= _same(expected, list(way.pool.map(fn, chosen)))
            except Exception as error:
                absent[way.row.label] = reason(error)
        ways = [way for way in ways if way.row.label not in absent]
        # Where the way to a worker is longer than the work, rounds would be, too.
        too_long = (time.monotonic() - began) * _ROUNDS / seconds
        if too_long > 1:
            fewer = max(2 * counts[-1], int(len(chosen) / too_long))
            chosen, expected = _spread(chosen, fewer), _spread(expected, fewer)
        calibration = Calibration(round(cpu_share * counts[-1]))
        for number in range(_MOST_ROUNDS):
            calibration.begin_round()
            first = number % len(ways)
            for way in ways[first:] + ways[:first]:
                show(f"round {number + 1}, {way.row.label}")
                calibration.take()
                agree &= _same(expected, way.turn(fn, chosen))
            kept = calibration.kept(_LEAST_ROUNDS)
            if number + 1 >= _LEAST_ROUNDS and (
                time.monotonic() > end or all(way.width(kept) < _NARROW for way in ways)
            ):
                break
        rows = [way.finished(kept) for way in ways]
    return Comparison(
        function=f"{getattr(fn, '__module__', '')}:{getattr(fn, '__qualname__', repr(fn))}",
        items=len(chosen),
        items_given=len(given),
        call_seconds=call_seconds,
        cpu_share=cpu_share,
        bytes_per_task=bytes_per_task(chosen, expected),
        gil_share=gil.value,
        rows=rows,
        absent=absent,
        conditions=calibration.conditions(kept),
        results_agree=agree,
    )


def _taken(items: Iterable[Any]) -> list[Any]:
    try:
        taken = list(itertools.islice(items, _MOST_ITEMS))
    except TypeError as error:
        raise ValueError(f"items must be something to iterate over: {error}") from None
    if not taken:
        raise ValueError("there are no items, so there is nothing to compare")
    return taken


def _spread(items: list[Any], count: int) -> list[Any]:
    """So many of them, evenly spread; some more than once if there are too few."""
    if count >= len(items):
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _first_call(fn: Callable[[Any], Any], item: Any, limit_s: float) -> tuple[float, float]:
    """Seconds of one call, and the share of a CPU that it takes; in a worker, which can be killed
    if it takes too long.
    """
    try:
        with Pool(1) as pool:
            pool.submit(_loaded, fn).result()  # to import is not to call
            limited = pool.options(timeout=limit_s)
            limited.submit(_timed, fn, item).result()
            found: list[tuple[float, float]] = []
            while not found or (len(found) < 5 and sum(took for took, _ in found) < 0.1):
                found.append(limited.submit(_timed, fn, item).result())
        return min(took for took, _ in found), min(share for _, share in found)
    except TaskTimeout:
        raise ValueError(
            f"one call takes longer than {limit_s:.3g} s, too long to be repeated in the time that "
            "there is: give smaller items, or ten seconds for each that it takes"
        ) from None
    except Exception as error:
        raise ValueError(
            f"the function fails on its first item, {_brief(item)}: {type(error).__name__}: {error}"
        ) from error


def _loaded(fn: object) -> None:
    """Brings the function, and what it is measured with, into a worker."""


def _timed(fn: Callable[[Any], Any], item: Any) -> tuple[float, float]:
    calls = 1
    while True:  # a call of a microsecond is too short for the clock
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            fn(item)
        took = time.perf_counter() - began
        if took > 0.001:
            return took / calls, (time.process_time() - cpu) / took
        calls *= 4


def _serial(fn: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    results = []
    for item in items:
        try:
            results.append(fn(item))
        except Exception as error:
            raise ValueError(
                f"the function fails on an item, {_brief(item)}: {type(error).__name__}: {error}"
            ) from error
    return results


@contextmanager
def _ways(
    fn: Callable[[Any], Any], item: Any, counts: Sequence[int], show: Callable[[str], None]
) -> Iterator[tuple[list[_Way], dict[str, str]]]:
    ways = [_Way("serial", None, 1, 0.0)]
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        for kind in kinds(with_auto=True):
            for count in counts:
                show(f"starting {kind}, {count}")
                began = time.perf_counter()
                try:
                    pool = stack.enter_context(Pool(count, kind=kind))
                    pool.submit(fn, item).result()
                except Exception as error:  # what a kind cannot do is its reason
                    absent[kind] = reason(error)
                    break
                ways.append(_Way(kind, pool, count, time.perf_counter() - began))
        yield ways, absent


def _same(expected: list[Any], found: list[Any]) -> bool:
    try:
        return bool(expected == found)
    except Exception:  # arrays do not compare to one truth
        return len(expected) == len(found)


def _brief(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 60 else text[:57] + "..."

# SPDX-License-Identifier: BSD-3-Clause
"""How many items a second does `map` get through, with chunks of its own choosing?

A million items through a function that returns its argument; the results are compared with
the items. owngil chooses its chunks. multiprocessing.Pool and ProcessPoolExecutor are given
their best: each tries seven sizes in its practice turn and keeps the fastest. Peers that need
many seconds for a million get fewer items. `work-1ms` maps a task of fixed CPU work instead,
against bare forks that share a counter, with new processes in every turn: how fast the same loop
runs in a process differs by some percent with where its memory happens to lie.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from harness.contest import Measure, Variant, floor, main, pools
from harness.executors import (
    INTERPRETERS,
    OWNGIL,
    OWNGIL_INTERPRETERS,
    POOL,
    PPE,
    THREADS,
    Face,
)
from harness.figures import Goal, Metric, Samples
from harness.forks import Forks
from harness.turns import Settings, Turn
from harness.work import burn, identity

_ITEMS = 1_000_000
_WORK_ITEMS = 1000
_WARM_UP_ITEMS = 100
_SIZES = (256, 1024, 4096, 16_384, 32_768, 65_536, 125_000)
_FORKS = "bare forks"


def ints(count: int) -> list[Any]:
    """0, 1, 2, …"""
    return list(range(count))


def strings(count: int) -> list[Any]:
    """Short, and each another."""
    return [f"item-{i}" for i in range(count)]


def tuples(count: int) -> list[Any]:
    """An int, a float, a short string."""
    return [(i, i / 8, "row") for i in range(count)]


def dicts(count: int) -> list[Any]:
    """Three keys, the same in all."""
    return [{"id": i, "value": i / 8, "name": "row"} for i in range(count)]


def mixture(count: int) -> list[Any]:
    """All of these, and None, bool, bytes and nested lists, one after the other."""
    makers: list[Callable[[int], Any]] = [
        lambda i: i,
        lambda i: i / 8,
        lambda i: f"item-{i}",
        lambda i: (i, "row"),
        lambda i: {"id": i},
        lambda i: None,
        lambda i: i % 3 == 0,
        lambda i: b"bytes-%d" % i,
        lambda i: [i, [i, i]],
    ]
    return [makers[i % len(makers)](i) for i in range(count)]


def mapped(make: Callable[[int], list[Any]], share: float, sizes: Sequence[int]) -> Measure:
    """A turn: map `share` of a million items; with `sizes`, at the best of them."""
    kept: dict[str, Any] = {}

    def measure(face: Face, settings: Settings, number: int) -> Samples:
        count = int(_ITEMS * share) // (20 if settings.quick else 1)
        items = kept.setdefault("items", make(count))

        def once(size: int | None) -> float:
            began = time.perf_counter()
            results = list(face.map(identity, items, size))
            seconds = time.perf_counter() - began
            if results != items:
                raise AssertionError("the results are not the items")
            return seconds

        if "size" not in kept:
            kept["size"] = min(sizes, key=once) if sizes else None
        return {"items": [count / once(kept["size"])]}

    return measure


def fixed_work(face: Face, settings: Settings, number: int) -> Samples:
    """A thousand tasks of 1 ms of CPU work."""
    units = round(settings.units_per_ms)
    expected = burn(units)
    list(face.map(burn, [units] * _WARM_UP_ITEMS, None))
    began = time.perf_counter()
    results = list(face.map(burn, [units] * _WORK_ITEMS, None))
    seconds = time.perf_counter() - began
    if results != [expected] * _WORK_ITEMS:
        raise AssertionError("wrong results")
    return {"tasks": [_WORK_ITEMS / seconds]}


@contextmanager
def forked_work(settings: Settings) -> Iterator[Turn]:
    """The same, taken from a shared counter by bare forks."""
    units = round(settings.units_per_ms)
    expected = burn(units)

    def turn(number: int) -> Samples:
        forks.run([units] * _WARM_UP_ITEMS)
        began = time.perf_counter()
        count, total = forks.run([units] * _WORK_ITEMS)
        seconds = time.perf_counter() - began
        if (count, total) != (_WORK_ITEMS, expected * _WORK_ITEMS):
            raise AssertionError("wrong results")
        return {"tasks": [_WORK_ITEMS / seconds]}

    with Forks(settings.workers, burn) as forks:
        yield turn


def payload(name: str, title: str, make: Callable[[int], list[Any]], *goals: Goal) -> Variant:
    """A million items of one kind."""
    return Variant(
        name,
        title,
        [
            *pools((OWNGIL, OWNGIL_INTERPRETERS), mapped(make, 1, ())),
            *pools((POOL, PPE), mapped(make, 1, _SIZES)),
            *pools(("loky",), mapped(make, 1, (4096,))),
            *pools(("joblib", "pebble"), mapped(make, 0.1, (4096,))),
            *pools(("mpire",), mapped(make, 0.1, (1024,))),
            *pools(("Ray",), mapped(make, 0.1, (4096,))),
            *pools(("Dask",), mapped(make, 0.005, (1024,))),
            *pools((THREADS, INTERPRETERS), mapped(make, 0.02, ())),
        ],
        (Metric("items", "rate", "million/s", 1e-6),),
        (
            *goals,
            Goal("items", "better", 1, POOL),
            Goal("items", "within", 1.1, OWNGIL, contender=OWNGIL_INTERPRETERS),
            Goal("items", "better", 50, INTERPRETERS, contender=OWNGIL_INTERPRETERS),
        ),
        references=(POOL, PPE, OWNGIL),
    )


VARIANTS = (
    payload("ints", "small ints", ints, Goal("items", "at least", 10)),
    payload("strings", "short strings", strings),
    payload("tuples", "tuples of int, float, string", tuples),
    payload("dicts", "dicts of three keys", dicts),
    payload("mixture", "nine kinds of small values in turn", mixture),
    Variant(
        "work-1ms",
        "tasks of 1 ms of fixed CPU work",
        [*pools((OWNGIL, POOL, PPE), fixed_work), floor(_FORKS, forked_work)],
        (Metric("tasks", "rate", "tasks/s"),),
        (Goal("tasks", "better", 0.99, _FORKS),),
        references=(_FORKS, PPE),
        rounds=15,
        fresh=True,
    ),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

# SPDX-License-Identifier: BSD-3-Clause
"""A DataFrame grouped in parallel: with owngil, and with ProcessPoolExecutor.

    pip install 'owngil[pandas]'
    python examples/group_by.py [rows]

The frame is shared once. Each task names it, takes the groups that are its own, and returns their
statistics; no column is copied. The standard pool pickles the groups' rows through a pipe.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

import numpy

import owngil

try:
    import pandas
except ImportError:
    sys.exit("this example needs pandas: pip install 'owngil[pandas]'")

GROUPS = 1000


def statistics(frame: Any) -> Any:
    """What there is to be known of each group."""
    groups = frame.groupby("group")
    return pandas.concat(
        {
            "mean": groups.mean(),
            "median": groups.median(),
            "spread": groups.quantile(0.9) - groups.quantile(0.1),
        },
        axis=1,
    )


def statistics_of(frame: Any, part: int, parts: int) -> Any:
    """The same, of every so many-th group."""
    return statistics(frame[frame["group"] % parts == part])


def with_owngil(pool: owngil.Pool, frame: Any, parts: int) -> Any:
    with pool.share(frame) as shared:
        results = [pool.submit(statistics_of, shared, part, parts) for part in range(parts)]
        return pandas.concat([result.result() for result in results]).sort_index()


def with_the_standard_pool(pool: Executor, frame: Any, parts: int) -> Any:
    results = [
        pool.submit(statistics, frame[frame["group"] % parts == part]) for part in range(parts)
    ]
    return pandas.concat([result.result() for result in results]).sort_index()


def make(rows: int) -> Any:
    random = numpy.random.default_rng(7)
    columns: dict[str, Any] = {"group": random.integers(GROUPS, size=rows)}
    columns |= {f"x{n}": random.random(rows) for n in range(4)}
    columns |= {f"n{n}": random.integers(1000, size=rows) for n in range(3)}
    return pandas.DataFrame(columns)


def main(rows: int = 1_000_000, rounds: int = 3) -> None:
    frame = make(rows)
    print(f"{rows} rows, {frame.memory_usage().sum() / 1e6:.0f} MB, {GROUPS} groups")
    with owngil.Pool(preload=["pandas"]) as pool, ProcessPoolExecutor() as standard:
        parts = 2 * len(pool.stats().workers)
        ways = {
            "this process": lambda: statistics(frame),
            "ProcessPoolExecutor": lambda: with_the_standard_pool(standard, frame, parts),
            "owngil": lambda: with_owngil(pool, frame, parts),
        }
        best: dict[str, float] = {}
        expected = ways["this process"]()
        for _ in range(rounds + 1):
            for name, way in ways.items():
                began = time.perf_counter()
                result = way()
                took = time.perf_counter() - began
                best[name] = min(took, best.get(name, took))
                pandas.testing.assert_frame_equal(result, expected)
    for name, took in best.items():
        print(f"{name:20} {took * 1e3:8.1f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

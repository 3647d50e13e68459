# SPDX-License-Identifier: BSD-3-Clause
"""asyncio: many waits in one thread, and what a computation does to the loop, wherever it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median

from . import work
from .experiment import FIND_OUT, Experiment, Opened, Samples, Settings
from .kinds import WORKER_KINDS, pools
from .verdict import Claim
from .waking import in_pool

__all__ = ["EXPERIMENTS"]

MANY = "1,000 coroutines that wait, beyond one wait"
ALONE = "the loop alone"
IN_LOOP = "computing in the loop"
IN_THREAD = "computing in a thread"
_TICK_S = 0.005
ON_TIME_S = 0.005


async def many_waits(seconds: float) -> float:
    """How much longer 1,000 waits take than one, in one thread."""
    began = time.perf_counter()
    await asyncio.gather(*(asyncio.sleep(seconds) for _ in range(1000)))
    return time.perf_counter() - began - seconds


async def loop_delays(compute: Callable[[], Awaitable[object]]) -> list[float]:
    """How late the loop calls back, every 5 ms, while `compute` is awaited."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            due = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            late.append(time.perf_counter() - due)

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(2 * _TICK_S)  # it ticks
    late.clear()
    await compute()
    await asyncio.sleep(2 * _TICK_S)  # what was due meanwhile
    ticker.cancel()
    return late


def _in_executor(executor: Executor, steps: int) -> Callable[[], Sequence[float]]:
    async def compute() -> None:
        await asyncio.get_running_loop().run_in_executor(executor, work.count_python, steps)

    return lambda: asyncio.run(loop_delays(compute))


@contextmanager
def _open(settings: Settings) -> Iterator[Opened]:
    seconds = settings.seconds
    steps = work.steps_for(work.count_python, seconds)

    async def wait() -> None:
        await asyncio.sleep(seconds)

    async def in_loop() -> None:
        work.count_python(steps)

    ways: dict[str, Callable[[], Sequence[float]]] = {
        ALONE: lambda: asyncio.run(loop_delays(wait)),
        IN_LOOP: lambda: [max(asyncio.run(loop_delays(in_loop)))],
    }
    with ThreadPoolExecutor(1) as threads, pools(1, _nothing) as (opened, absent):
        ways[IN_THREAD] = _in_executor(threads, steps)
        for kind, pool in opened.items():
            ways[in_pool(kind)] = _in_executor(pool, steps)
        ways[MANY] = lambda: [asyncio.run(many_waits(seconds))]
        yield Opened(ways, absent)


def _nothing() -> int:
    return work.count_python(1)


def _medians(rounds: Sequence[Sequence[float]]) -> list[float]:
    return [median(one) for one in rounds if one]


def _claims(samples: Samples, settings: Settings) -> list[Claim]:
    return [
        Claim(
            "1,000 waits take little longer than one",
            _medians(samples[MANY]),
            at_most=0.1 + 0.2 * settings.seconds,
            unit="s",
        ),
        Claim(
            "a computation in the loop blocks it all the while",
            _medians(samples[IN_LOOP]),
            at_least=0.6 * settings.seconds,
            unit="s",
        ),
        Claim(
            "one in a thread delays it by about a switch interval",
            _medians(samples[IN_THREAD]),
            settings.switch_interval * 0.3,
            settings.switch_interval * 4,
            "s",
        ),
        *(
            Claim(
                f"one {in_pool(kind)} does not delay it",
                _medians(samples[in_pool(kind)]),
                at_most=min(ON_TIME_S, settings.switch_interval * 0.5),
                unit="s",
            )
            for kind in WORKER_KINDS
            if in_pool(kind) in samples
        ),
    ]


EXPERIMENTS = (
    Experiment(
        name="asyncio",
        title="many coroutines that wait, and one that computes",
        article=FIND_OUT,
        saw="described: coroutines wait together in one thread, and computing blocks the loop",
        saw_seconds={},
        teaches="Waiting needs no threads: one loop watches a thousand waits. But it runs one "
        "thing at a time, so a computation belongs elsewhere, where it has a GIL of its own.",
        measures="how late the loop called back",
        unit="s",
        quantities={MANY: ("how much longer 1,000 waits take than one", "s")},
        source=[many_waits, loop_delays],
        open=_open,
        claims=_claims,
        computes_on=1,
    ),
)

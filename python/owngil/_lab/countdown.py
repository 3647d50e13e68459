# SPDX-License-Identifier: BSD-3-Clause
"""The countdown: twice in one thread, in threads, in processes, in sub-interpreters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from owngil import Pool

from . import interpreters
from .estimates import ratios
from .experiment import FIND_OUT, Experiment, Opened, Samples, Settings
from .verdict import Claim
from .work import count_python

__all__ = ["EXPERIMENTS", "PROCESSES", "SERIAL", "THREADS", "in_threads", "one_after_the_other"]

ONE = "one countdown"
SERIAL = "one after the other"
THREADS = "in threads"
PROCESSES = "in processes"
INTERPRETERS = "in sub-interpreters"


def one_after_the_other(n: int, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        count_python(n)
    return time.perf_counter() - began


def in_threads(function: Callable[..., Any], arguments: tuple[Any, ...], times: int) -> float:
    began = time.perf_counter()
    threads = [threading.Thread(target=function, args=arguments) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def in_processes(pool: Pool, n: int, times: int) -> float:
    began = time.perf_counter()
    for future in [pool.submit(count_python, n) for _ in range(times)]:
        future.result()
    return time.perf_counter() - began


def _serial_ways(settings: Settings) -> dict[str, Callable[[], Sequence[float]]]:
    count_python(settings.n // 10)
    return {
        ONE: lambda: [one_after_the_other(settings.n, 1)],
        SERIAL: lambda: [one_after_the_other(settings.n, settings.threads)],
    }


@contextmanager
def _open_serial(settings: Settings) -> Iterator[Opened]:
    yield Opened(_serial_ways(settings))


@contextmanager
def _open_threads(settings: Settings) -> Iterator[Opened]:
    ways = _serial_ways(settings)
    ways[THREADS] = lambda: [in_threads(count_python, (settings.n,), settings.threads)]
    yield Opened(ways)


@contextmanager
def _open_processes(settings: Settings) -> Iterator[Opened]:
    ways = _serial_ways(settings)
    with Pool(settings.threads) as pool:
        in_processes(pool, settings.n // 10, settings.threads)
        ways[PROCESSES] = lambda: [in_processes(pool, settings.n, settings.threads)]
        yield Opened(ways)


@contextmanager
def _open_interpreters(settings: Settings) -> Iterator[Opened]:
    opened = Opened(_serial_ways(settings))
    with interpreters.child(settings) as (child, missing):
        if child is None:
            opened.absent[INTERPRETERS] = missing
        else:
            child.ask("countdown own", settings.n // 10)
            opened.ways[INTERPRETERS] = lambda: [child.ask("countdown own", settings.n)]
        yield opened


def _serial_claims(samples: Samples, settings: Settings) -> list[Claim]:
    times = settings.threads
    return [
        Claim(
            f"{times} countdowns, one after the other, take {times} times one",
            ratios(samples[SERIAL], samples[ONE]),
            times * 0.85,
            times * 1.15,
            "x",
        )
    ]


def _threads_claims(samples: Samples, settings: Settings) -> list[Claim]:
    return [
        Claim(
            "threads take as long as one after the other, or longer",
            ratios(samples[THREADS], samples[SERIAL]),
            at_least=0.9,
            unit="x",
        )
    ]


def _parallel_claims(way: str) -> Callable[[Samples, Settings], list[Claim]]:
    def claims(samples: Samples, settings: Settings) -> list[Claim]:
        return [
            Claim(
                f"{settings.threads} countdowns {way} take about as long as one",
                ratios(samples.get(way, ()), samples[ONE]),
                at_most=1.35,
                unit="x",
            )
        ]

    return claims


def _experiment(name: str, title: str, **rest: Any) -> Experiment:
    return Experiment(
        name=name,
        title=title,
        article=FIND_OUT,
        measures="time until all countdowns are done",
        unit="s",
        **rest,
    )


EXPERIMENTS = (
    _experiment(
        "countdown-serial",
        "count down, again and again, in one thread",
        saw="0.53 s for one countdown from 10 million",
        saw_seconds={ONE: [0.53]},
        teaches="This is the baseline: one thread, which holds the GIL all the time and wants "
        "nothing from anybody. What is faster than this has used a second CPU.",
        source=[count_python, one_after_the_other],
        open=_open_serial,
        claims=_serial_claims,
        cpus=1,
        computes_on=1,
    ),
    _experiment(
        "countdown-threads",
        "the same in threads",
        saw="1.1 s for two, where one takes 0.53 s",
        saw_seconds={ONE: [0.53], THREADS: [1.1]},
        teaches="Only the thread that holds the GIL runs Python, so two threads share one CPU's "
        "worth of it. They take turns of 5 ms, and the turns themselves cost a little.",
        source=[count_python, in_threads],
        open=_open_threads,
        claims=_threads_claims,
    ),
    _experiment(
        "countdown-processes",
        "the same in processes",
        saw="0.65 s for two, where one takes 0.53 s",
        saw_seconds={ONE: [0.53], PROCESSES: [0.65]},
        teaches="Each process has an interpreter and a GIL of its own, so none waits for another. "
        "The price is that arguments and results must travel, and that each has its own memory.",
        source=[count_python, in_processes],
        open=_open_processes,
        claims=_parallel_claims(PROCESSES),
    ),
    _experiment(
        "countdown-interpreters",
        "the same in sub-interpreters that own their GIL",
        saw="not possible then: sub-interpreters of Python 3.8 shared the GIL",
        saw_seconds={},
        teaches="Since Python 3.12 a sub-interpreter can have a GIL of its own, so threads of one "
        "process run Python in parallel. They share no objects, and an extension must say that "
        "it can bear it.",
        source=[count_python, interpreters.COUNTDOWN],
        open=_open_interpreters,
        claims=_parallel_claims(INTERPRETERS),
    ),
)

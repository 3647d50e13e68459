# SPDX-License-Identifier: BSD-3-Clause
"""How the GIL passes from thread to thread: after which time, to whom, and what that costs I/O."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from owngil import Pool

from . import work
from .estimates import ratios
from .experiment import FIND_OUT, Experiment, Opened, Samples, Settings
from .runner import switch_interval
from .verdict import Claim
from .waking import late_beside

__all__ = ["EXPERIMENTS", "Hold", "out_of_turn"]

Hold = tuple[int, float, float]  # which thread, from when, until when

# --- switch-interval ----------------------------------------------------------------------------

_INTERVALS = (0.001, 0.005, 0.020)


def wake_ups_at(interval: float, steps: int) -> list[float]:
    with switch_interval(interval):
        return late_beside(lambda: work.count_python(steps), 0.002)


def _interval(seconds: float) -> str:
    return f"interval {seconds * 1000:g} ms"


def _intervals(settings: Settings) -> list[float]:
    return sorted({*_INTERVALS, settings.switch_interval})


@contextmanager
def _open_intervals(settings: Settings) -> Iterator[Opened]:
    longest = max(_intervals(settings))
    steps = work.steps_for(work.count_python, max(5 * longest, min(0.5, settings.seconds)))
    ways: dict[str, Callable[[], Sequence[float]]] = {}
    for interval in _intervals(settings):
        ways[_interval(interval)] = lambda interval=interval: wake_ups_at(  # type: ignore[misc]
            interval, steps
        )
    yield Opened(ways)


def _interval_claims(samples: Samples, settings: Settings) -> list[Claim]:
    return [
        Claim(
            f"at {_interval(interval)}, the median delay is about one of them",
            [median(one) / interval for one in samples[_interval(interval)] if one],
            0.5,
            2.5,
            "x",
        )
        for interval in _intervals(settings)
    ]


# --- unfairness ---------------------------------------------------------------------------------

_GAP_S = 0.0004  # a thread that sees the clock jump by this much had lost the GIL
OUT_OF_TURN = "share of switches that skip who waited longest"
LARGEST = "largest share of the time that one thread held it"
HELD = "how long it was held, in switch intervals"


def holds_of(threads: int, seconds: float) -> list[Hold]:
    """Threads that compute and look at the clock: who held the GIL, from when until when."""
    found: list[list[Hold]] = [[] for _ in range(threads)]
    start = threading.Barrier(threads)

    def compute(me: int) -> None:
        mine = found[me]
        start.wait()
        began = last = time.perf_counter()
        end = began + seconds
        while last < end:
            now = time.perf_counter()
            if now - last > _GAP_S:
                mine.append((me, began, last))
                began = now
            last = now
        mine.append((me, began, last))

    in_threads = [threading.Thread(target=compute, args=(me,)) for me in range(threads)]
    for thread in in_threads:
        thread.start()
    for thread in in_threads:
        thread.join()
    return sorted((hold for one in found for hold in one), key=lambda hold: hold[1])


def out_of_turn(holds: Sequence[Hold]) -> float:
    """Among all changes of hands, the share that went past the thread that had waited longest."""
    ended: dict[int, float] = {}
    threads = {thread for thread, _, _ in holds}
    switches = skipped = 0
    for thread, _, until in holds:
        waited_longest = min(
            (other for other in threads if other in ended), key=ended.__getitem__, default=thread
        )
        if len(ended) == len(threads):
            switches += 1
            skipped += thread != waited_longest
        ended[thread] = until
    return skipped / switches if switches else 0.0


def largest_share(holds: Sequence[Hold]) -> float:
    held: dict[int, float] = {}
    for thread, since, until in holds:
        held[thread] = held.get(thread, 0.0) + until - since
    return max(held.values()) / (sum(held.values()) or 1.0)


@contextmanager
def _open_unfairness(settings: Settings) -> Iterator[Opened]:
    threads = max(3, settings.threads)
    seconds = 3 * settings.seconds

    def held() -> Sequence[float]:
        found = holds_of(threads, seconds)
        return [(until - since) / settings.switch_interval for _, since, until in found]

    yield Opened(
        {
            OUT_OF_TURN: lambda: [out_of_turn(holds_of(threads, seconds))],
            LARGEST: lambda: [largest_share(holds_of(threads, seconds))],
            HELD: held,
        }
    )


def _unfairness_claims(samples: Samples, settings: Settings) -> list[Claim]:
    return [
        Claim(
            "the GIL goes past the thread that has waited longest",
            [one[0] for one in samples[OUT_OF_TURN]],
            at_least=0.01,
        ),
        Claim(
            "it is held for about one switch interval at a time",
            [median(one) for one in samples[HELD] if one],
            0.5,
            2.0,
            "x",
        ),
    ]


# --- convoy -------------------------------------------------------------------------------------

ALONE = "alone"
BESIDE_THREAD = "beside a thread that computes"
BESIDE_WORKER = "beside a worker that computes"


def round_trips(seconds: float) -> float:
    """Round trips a second between two threads, over a socket."""
    here, there = socket.socketpair()

    def echo() -> None:
        while data := there.recv(1):
            there.send(data)

    thread = threading.Thread(target=echo)
    thread.start()
    trips = 0
    began = now = time.perf_counter()
    while now - began < seconds:
        here.send(b"x")
        here.recv(1)
        trips += 1
        now = time.perf_counter()
    here.close()
    thread.join()
    there.close()
    return trips / (now - began)


def round_trips_beside_thread(seconds: float) -> float:
    stop = False

    def compute() -> None:
        while not stop:
            pass

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        return round_trips(seconds)
    finally:
        stop = True
        thread.join()


@contextmanager
def _open_convoy(settings: Settings) -> Iterator[Opened]:
    seconds = settings.seconds
    with Pool(1) as pool:
        steps = pool.submit(work.steps_for, work.count_python, seconds).result()

        def beside_worker() -> Sequence[float]:
            busy = pool.submit(work.count_python, steps)
            trips = round_trips(0.8 * seconds)
            busy.result()
            return [trips]

        yield Opened(
            {
                ALONE: lambda: [round_trips(seconds)],
                BESIDE_THREAD: lambda: [round_trips_beside_thread(seconds)],
                BESIDE_WORKER: beside_worker,
            }
        )


def _convoy_claims(samples: Samples, settings: Settings) -> list[Claim]:
    return [
        Claim(
            "round trips are many times rarer beside a thread that computes",
            ratios(samples[ALONE], samples[BESIDE_THREAD]),
            at_least=10,
            unit="x",
        ),
        Claim(
            "a worker that computes costs far less than that",
            ratios(samples[BESIDE_WORKER], samples[BESIDE_THREAD]),
            at_least=10,
            unit="x",
        ),
    ]


EXPERIMENTS = (
    Experiment(
        name="switch-interval",
        title="the delay of a waking thread against sys.setswitchinterval",
        article=FIND_OUT,
        saw="described: who waits asks for the GIL after the interval, 5 ms by default",
        saw_seconds={},
        teaches="A thread that wants the GIL waits for one interval before it asks, and who "
        "holds it lets go at the next check of its loop. A shorter interval wakes threads sooner "
        "and costs the computation more switches.",
        measures="how late the sleeper woke",
        unit="s",
        source=[wake_ups_at, late_beside],
        open=_open_intervals,
        claims=_interval_claims,
        computes_on=1,
    ),
    Experiment(
        name="unfairness",
        title="three or more threads that compute: who gets the GIL, and for how long",
        article=FIND_OUT,
        saw="described: the thread that asked is not always the one that gets it",
        saw_seconds={},
        teaches="The interpreter only makes sure that somebody else gets the GIL; who, the "
        "system's scheduler decides. There is no queue, so one thread may wait for many turns.",
        measures="share",
        unit="",
        quantities={HELD: ("how long one thread held it, in switch intervals", "x")},
        source=[holds_of, out_of_turn],
        open=_open_unfairness,
        claims=_unfairness_claims,
    ),
    Experiment(
        name="convoy",
        title="short I/O round trips beside a thread that computes",
        article=FIND_OUT,
        saw="described; measured since: 18,000 to 22,000 round trips/s alone, 104 to 228 beside "
        "one CPU thread",
        saw_seconds={ALONE: [18_000, 22_000], BESIDE_THREAD: [104, 228]},
        teaches="Every I/O call gives the GIL up, and the computing thread takes it at once. "
        "Getting it back costs a whole switch interval, each time, however short the call was.",
        measures="round trips a second",
        unit="1/s",
        source=[round_trips, round_trips_beside_thread],
        open=_open_convoy,
        claims=_convoy_claims,
    ),
)

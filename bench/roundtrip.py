# SPDX-License-Identifier: BSD-3-Clause
"""How long does one call take: `submit(f, i).result()`, one at a time?

Each turn calls for a quarter of a second and checks every result. A sample is the time of one
call, two readings of the clock included. `worker CPU` is what the workers use, in percent
of one CPU, over the whole turn.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness import native
from harness.contest import Variant, floor, main, pools, renamed
from harness.executors import (
    INTERPRETERS,
    OWNGIL,
    OWNGIL_INTERPRETERS,
    POOL,
    PPE,
    THREADS,
    Face,
    worker_pids,
)
from harness.figures import Goal, Metric, Samples
from harness.meeting import Meeting
from harness.processes import cpu_seconds
from harness.turns import Settings, Turn
from harness.work import identity, meet

_TURN_S = 0.25
_PACED_TURN_S = 1.0
_FUTEX = "futex on 2 CPUs"
_FUTEX_TOGETHER = "futex on 1 CPU"
_PIPE = "os.fork and pipes"


def identity_of_main(value: object) -> object:
    """What `work.identity` is, but it lives in `__main__`."""
    return value


def calls(
    function: Callable[[Any], Any], pause_s: float = 0.0
) -> Callable[[Face, Settings, int], Samples]:
    """A turn of calls, each begun `pause_s` after the one before was begun."""

    def measure(face: Face, settings: Settings, number: int) -> Samples:
        submit = face.submit
        assert submit is not None
        clock = time.perf_counter
        pids = worker_pids(face)
        times: list[float] = []
        cpu = cpu_seconds(pids)
        start = now = clock()
        end = start + (_PACED_TURN_S if pause_s else _TURN_S)
        i = 0
        while now < end:
            if pause_s:
                time.sleep(max(0.0, start + i * pause_s - clock()))
            began = clock()
            result = submit(function, i).result()
            now = clock()
            times.append(now - began)
            if result != i:
                raise AssertionError(f"call {i} returned {result!r}")
            i += 1
        samples = {"round trip": times}
        if pids and pause_s:
            samples["worker CPU"] = [(cpu_seconds(pids) - cpu) / (now - start) * 100]
        return samples

    return measure


def beside_a_thread(face: Face, settings: Settings, number: int) -> Samples:
    """The same while a thread of the user's computes in pure Python."""
    stop = False

    def compute() -> None:
        while not stop:
            pass

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        return calls(identity)(face, settings, number)
    finally:
        stop = True
        thread.join()


def beside_sleepers(face: Face, settings: Settings, number: int) -> Samples:
    """The same while 64 workers are each in a task that waits."""
    submit = face.submit
    assert submit is not None
    with Meeting() as meeting:
        sleepers = [submit(meet, meeting.address) for _ in range(64)]
        meeting.gather(64)
        samples = calls(identity)(face, settings, number)
    assert [sleeper.result() for sleeper in sleepers] == [1] * 64
    return samples


@contextmanager
def fork_and_pipes(settings: Settings) -> Iterator[Turn]:
    """One forked child that echoes a byte: what a pool on pipes cannot be faster than."""
    there, back = os.pipe(), os.pipe()
    if not (pid := os.fork()):
        while (data := os.read(there[0], 1)) != b"s":
            os.write(back[1], data)
        os._exit(0)

    def turn(number: int) -> Samples:
        clock = time.perf_counter
        times: list[float] = []
        now = clock()
        end = now + _TURN_S
        while now < end:
            began = clock()
            os.write(there[1], b"x")
            if os.read(back[0], 1) != b"x":
                raise AssertionError("the child did not echo")
            now = clock()
            times.append(now - began)
        return {"round trip": times}

    yield turn
    os.write(there[1], b"s")
    os.waitpid(pid, 0)


_TIME = Metric("round trip", "latency", "µs", 1e6)
_CPU = Metric("worker CPU", "amount", "%")
_PEERS = (
    *(OWNGIL, OWNGIL_INTERPRETERS, PPE, POOL, "loky", "mpire", "pebble", "Dask", "Ray"),
    *(THREADS, INTERPRETERS),
)


def paced(name: str, pause_ms: int) -> Variant:
    """One call every so many milliseconds: the worker has gone to sleep between, or has not."""
    return Variant(
        name,
        f"one call every {pause_ms} ms",
        [
            *pools((OWNGIL, PPE, POOL), calls(identity, pause_ms / 1000)),
            native.paced_futex(_FUTEX, pause_ms, "apart"),
            native.paced_futex(_FUTEX_TOGETHER, pause_ms),
        ],
        (_TIME, _CPU),
        (
            Goal("worker CPU", "at most", 20),
            Goal("round trip", "within", 1.5, _FUTEX),
            Goal("round trip", "within", 1.5, _FUTEX_TOGETHER),
            Goal("round trip", "better", 2, PPE),
        ),
        references=(PPE, _FUTEX, _FUTEX_TOGETHER),
    )


VARIANTS = (
    Variant(
        "plain",
        "`f` importable, as many workers as CPUs",
        [*pools(_PEERS, calls(identity)), floor(_PIPE, fork_and_pipes)],
        (_TIME,),
        (
            Goal("round trip", "at most", 2),
            Goal("round trip", "at most", 20, statistic="p99"),
            Goal("round trip", "better", 60, PPE),
            Goal("round trip", "within", 1.1, OWNGIL, contender=OWNGIL_INTERPRETERS),
            Goal("round trip", "better", 50, INTERPRETERS, contender=OWNGIL_INTERPRETERS),
        ),
        rounds=15,
        references=(PPE, _PIPE, OWNGIL),
    ),
    Variant(
        "main",
        "`f` lives in `__main__`",
        pools((OWNGIL, PPE, POOL, "loky"), calls(identity_of_main)),
        (_TIME,),
        (Goal("round trip", "at most", 5),),
    ),
    paced("every-1ms", 1),
    paced("every-10ms", 10),
    Variant(
        "beside-thread",
        "beside a CPU-bound thread of the user's process",
        pools((OWNGIL, PPE, POOL), beside_a_thread),
        (_TIME,),
        (Goal("round trip", "better", 2, PPE),),
    ),
    Variant(
        "64-workers",
        "with 64 workers that sleep: idle, or each in a task that waits",
        [
            *pools((OWNGIL,), calls(identity)),
            renamed(pools((OWNGIL,), calls(identity), workers=66)[0], "owngil (64 idle)"),
            renamed(pools((OWNGIL,), beside_sleepers, workers=66)[0], "owngil (64 waiting)"),
            renamed(pools((PPE,), calls(identity), workers=66)[0], f"{PPE} (64 idle)"),
        ],
        (_TIME,),
        (
            Goal("round trip", "within", 1.5, OWNGIL, contender="owngil (64 idle)"),
            Goal("round trip", "within", 1.5, OWNGIL, contender="owngil (64 waiting)"),
        ),
        references=(OWNGIL,),
    ),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

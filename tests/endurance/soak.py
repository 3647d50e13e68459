# SPDX-License-Identifier: BSD-3-Clause
"""Does anything grow in a program that uses a pool for minutes, whatever happens in it?

Four threads keep a pool busy with tasks of known answers, of which some kill their worker. Beside
them the main thread does at random what the table ACTIONS says: crashes, time limits, cancellation,
retries, maps that are given up, functions, workers and pools that come and go. Every few seconds
all of it comes to rest, and then these are counted:
  memory       of this process: anonymous pages, freed memory given back; and shared memory
  descriptors  that are open
  threads      of this process
  processes    that it has started, at any remove

The first third warms up. What follows must stay flat: memory within 1 MiB from the median of the
first measurements to the median of the last (shared memory within 8 MiB: an arena keeps what it
used last, so it varies), the other counts the same. The exit code says whether.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import watch
import work
from killer import marked
from seeds import add_seed
from tally import Tally
from users import Users

import owngil
from harness import leaks
from harness.conditions import wait_until
from owngil._cli.live_line import LiveLine

WORKERS = 3
PERIOD_S = 2.0
TEMPLATES = 4  # are kept, each for another environment
FEWEST = 6  # measurements
MEMORY_DRIFT = 1 << 20
SHARED_DRIFT = 8 * MEMORY_DRIFT
FAULTS_SHOWN = 20

SORTS = (
    *work.MIXTURE,
    work.Mixture("dies", 2, lambda job, _: replace(job, dies=True)),
)


class Surprise(Exception):
    """A task did not end as the action wanted."""


def expect(future: Future[Any], *kinds: type[BaseException]) -> None:
    try:
        error = future.exception()
    except CancelledError as cancelled:
        error = cancelled
    if not isinstance(error, kinds):
        raise Surprise(f"{error!r} is none of {kinds}")


def crash(pool: owngil.Pool, random_: random.Random) -> None:
    end = random_.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, None))
    if end is None:
        expect(pool.submit(os._exit, random_.randrange(9)), owngil.WorkerDied)
    else:
        expect(pool.submit(work.end_by, end), owngil.WorkerDied)


def time_limit(pool: owngil.Pool, _: random.Random) -> None:
    expect(pool.options(timeout=0.02).submit(time.sleep, 60), owngil.TaskTimeout)


def deadline(pool: owngil.Pool, _: random.Random) -> None:
    expect(pool.options(deadline=0.02).submit(time.sleep, 60), owngil.TaskTimeout)


def retries(pool: owngil.Pool, _: random.Random) -> None:
    again = pool.options(retries=2, retry_on=owngil.WorkerDied)
    expect(again.submit(os._exit, 3), owngil.PoisonTask)


def cancel_pending(pool: owngil.Pool, _: random.Random) -> None:
    futures = [pool.submit(pow, 2, number) for number in range(200)]
    for number, future in reversed(list(enumerate(futures))):
        if not future.cancel() and future.result() != 2**number:
            raise Surprise("a wrong result")


def cancel_running(pool: owngil.Pool, _: random.Random) -> None:
    future = pool.submit(time.sleep, 60)
    wait_until(future.running)
    future.cancel(running=True)  # type: ignore[call-arg]
    expect(future, CancelledError)


def give_up_a_map(pool: owngil.Pool, _: random.Random) -> None:
    results = pool.map(abs, range(5000))
    if next(results) != 0:
        raise Surprise("a wrong result")
    results.close()  # type: ignore[attr-defined]


def raise_an_error(pool: owngil.Pool, _: random.Random) -> None:
    expect(pool.submit(int, "no number"), ValueError)


def new_function(pool: owngil.Pool, random_: random.Random) -> None:
    number = random_.getrandbits(64)
    if pool.submit(lambda: number).result() != number:
        raise Surprise("a wrong result")


def new_context(pool: owngil.Pool, random_: random.Random) -> None:
    os.environ["OWNGIL_SOAK"] = value = str(random_.getrandbits(64))
    if pool.submit(os.getenv, "OWNGIL_SOAK").result() != value:
        raise Surprise("a wrong environment")


def drop_a_result(pool: owngil.Pool, random_: random.Random) -> None:
    pool.submit(bytes, random_.randrange(4 << 20))


def resize(pool: owngil.Pool, random_: random.Random) -> None:
    pool.resize(random_.randint(1, 2 * WORKERS))


def another_pool(
    _: owngil.Pool, random_: random.Random, starts: tuple[str, ...] = ("template", "spawn")
) -> None:
    with owngil.Pool(1, start=random_.choice(starts)) as other:
        if other.submit(pow, 2, 5).result() != 32:
            raise Surprise("a wrong result")


# What happens beside the users' threads: a line for each, with how often it is chosen.
ACTIONS: tuple[tuple[int, Callable[[owngil.Pool, random.Random], None]], ...] = (
    (4, crash),
    (4, time_limit),
    (2, deadline),
    (2, retries),
    (4, cancel_pending),
    (4, cancel_running),
    (4, give_up_a_map),
    (4, raise_an_error),
    (8, new_function),
    (2, new_context),
    (4, drop_a_result),
    (2, resize),
    (1, another_pool),
)


def warm_up(pool: owngil.Pool, random_: random.Random) -> None:
    """Each action once, and what stays for next time."""
    for _, act in ACTIONS:
        act(pool, random_)
    for _ in range(TEMPLATES):
        new_context(pool, random_)
        another_pool(pool, random_, ("template",))


@dataclass(frozen=True)
class Measured:
    anonymous: int
    shared: int
    descriptors: int
    threads: int
    processes: int


def is_at_rest(pool: owngil.Pool) -> bool:
    stats = pool.stats()
    return stats.leaving == 0 and all(worker.state == "idle" for worker in stats.workers)


def give_back_what_is_free() -> None:
    """Of large blocks, that is: glibc otherwise keeps up to 64 MiB for each thread."""
    mmap_threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    ctypes.CDLL(None).mallopt(mmap_threshold, 128 << 10)


def measure(pool: owngil.Pool, mark: str) -> Measured:
    """With nothing under way, and as many workers as at first."""
    pool.resize(WORKERS)
    wait_until(lambda: is_at_rest(pool))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    anonymous = next(int(line.split()[1]) for line in rollup if line.startswith("Anonymous:"))
    shared, descriptors = 0, 0
    for entry in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{entry}").startswith("/memfd:"):
                shared += os.fstat(int(entry)).st_blocks * 512
        except OSError:
            continue  # the listing's own
        descriptors += 1
    threads = len(os.listdir("/proc/self/task"))
    return Measured(anonymous << 10, shared, descriptors, threads, len(marked(mark)))


def drift(values: list[int]) -> int:
    """From the median of the first third to that of the last."""
    third = max(1, len(values) // 3)
    return round(statistics.median(values[-third:]) - statistics.median(values[:third]))


def run(minutes: float, seed: int, memory_drift: int) -> int:
    """Prints what it measures; the program's exit code."""
    give_back_what_is_free()
    mark = watch.mark_this_process()
    before = leaks.take_stock()
    random_, done, ended = random.Random(seed), Counter[str](), 0
    measured: list[Measured] = []
    surprises: list[str] = []
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder, LiveLine() as live:
        journal = Path(folder, "journal")
        with (
            owngil.Pool(WORKERS, max_restarts=None) as pool,
            watch.StallWatch(lambda: ended + done.total()),
        ):
            warm_up(pool, random_)
            while time.monotonic() < end or len(measured) < FEWEST:
                left = max(0.0, end - time.monotonic())
                live.show(f"{done.total():,} actions, {ended:,} tasks, {left:.0f} s left")
                journal.write_bytes(b"")
                tally = Tally()  # what it remembers of each task must not grow either
                rest = time.monotonic() + min(PERIOD_S, 60 * minutes / FEWEST)
                with Users(pool, journal, tally, random_.random(), make_job) as users:
                    while time.monotonic() < rest:
                        ((_, act),) = random_.choices(ACTIONS, [weight for weight, _ in ACTIONS])
                        try:
                            act(pool, random_)
                        except Surprise as surprise:
                            surprises.append(f"{act.__name__}: {surprise}")
                        done[act.__name__] += 1
                surprises += [
                    f"a thread of the program failed: {error!r}" for error in users.errors
                ]
                tally.let_go()
                surprises += tally.wrong
                ended += tally.ended
                del users, tally
                measured.append(measure(pool, mark))
        del pool
    left_behind = watch.what_is_left(before, mark)
    return report(measured, ended, done, surprises, left_behind, seed, memory_drift)


def make_job(number: int, random_: random.Random) -> work.Job:
    return work.make_job(number, random_, SORTS)


def report(
    measured: list[Measured],
    ended: int,
    done: Counter[str],
    surprises: list[str],
    left_behind: list[str],
    seed: int,
    memory_drift: int,
) -> int:
    faults = [*surprises, *(f"left behind: {line}" for line in left_behind)]
    flat = measured[len(measured) // 3 :]
    print(f"{ended:,} tasks and {done.total():,} actions, seed {seed}:")
    print("  " + ", ".join(f"{count:,} {name}" for name, count in done.most_common()))
    print(f"{len(measured)} measurements, of which {len(measured) - len(flat)} were to warm up:")
    for name in Measured.__dataclass_fields__:
        values = [getattr(one, name) for one in flat]
        moved = drift(values)
        allowed = {"anonymous": memory_drift, "shared": max(memory_drift, SHARED_DRIFT)}.get(
            name, 0
        )
        print(f"  {name:12} {values[0]:>12,} … {values[-1]:>12,}  drift {moved:+,}")
        if moved > allowed:
            faults.append(f"{name} has grown by {moved:,}")
    for line in faults[:FAULTS_SHOWN]:
        print(f"  FAULT {line}")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10, metavar="M", help="default: 10")
    add_seed(parser)
    parser.add_argument(
        "--memory-drift",
        type=int,
        default=MEMORY_DRIFT,
        metavar="BYTES",
        help="what is still flat (default: 1 MiB)",
    )
    given = parser.parse_args()
    return run(given.minutes, given.seed, given.memory_drift)


if __name__ == "__main__":
    sys.exit(main())

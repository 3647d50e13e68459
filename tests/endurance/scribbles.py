# SPDX-License-Identifier: BSD-3-Clause
"""Does a worker that scribbles over its shared memory harm anything but its own tasks?

Bursts of tasks with a known answer run in two workers. In each burst one more task scribbles
random bytes over all the shared memory that its worker can write, and then returns, raises, exits,
is killed, or goes on scribbling in a thread. Afterwards it must hold that
  the user's process lives      with a usable pool and no more memory than the tasks need
  every task has ended          those that met a scribbler may end in any way
  no other answer is wrong      tasks that began only in clean workers have their right answer

tests/runtime/scribbles_test.cpp does the same to the supervisor alone, faster and nearer to the
words that matter: OWNGIL_SCRIBBLES=100000 build/asan/tests/runtime_scribbles_test
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path

import journal
import scribbling
import watch
import work
from seeds import add_seed
from users import outcomes

import owngil
from harness import leaks
from owngil._cli.live_line import LiveLine

JOBS_IN_A_BURST = 16
MOST_SCRIBBLES_IN_A_BURST = 40
STUCK_S = 20.0  # a burst takes milliseconds
MOST_MEMORY = 512 << 20  # what scribbles may make the user's process touch
FAULTS_SHOWN = 20


@dataclass(frozen=True)
class Outcome:
    """Of a job beside a scribbler; it and its answer may be large, and are not kept."""

    number: int
    ending: str  # "right", "WRONG", or the name of an exception
    text: str


def outcome(job: work.Job, answer: object, error: BaseException | None) -> Outcome:
    if error is not None:
        return Outcome(job.number, type(error).__name__, f"{error!r:.99}")
    is_right = answer == job.right_answer()
    return Outcome(job.number, "right" if is_right else "WRONG", f"{answer!r:.99}")


class Run:
    """One pool, burst after burst."""

    def __init__(self, pool: owngil.Pool, folder: Path, seed: int) -> None:
        self.pool = pool
        self.jobs, self.scribblers = folder / "jobs", folder / "scribblers"
        for path in (self.jobs, self.scribblers):
            path.touch()
        self.outcomes: list[Outcome] = []
        self.scribbles = self.bursts = self.stuck = 0
        self._random = random.Random(seed)
        self._numbers = 0

    def burst(self) -> None:
        """Some jobs, and among them a task that scribbles."""
        self.bursts += 1
        futures: dict[Future[object], work.Job | None] = {}
        at = self._random.randrange(JOBS_IN_A_BURST)
        for place in range(JOBS_IN_A_BURST):
            if place == at:
                futures[self._submit_scribbler()] = None
            job = self._job()
            futures[self.pool.submit(work.run, str(self.jobs), job)] = job
        items = [self._job() for _ in range(self._random.choice((0, 0, JOBS_IN_A_BURST)))]
        results = self.pool.map(work.run, [str(self.jobs)] * len(items), items)

        late = wait(futures, STUCK_S).not_done
        if late:
            # A worker may have written over the very words that its tasks come by.
            self.stuck += len(late)
            self._kill_scribblers()
            wait(futures)
        for future, job in futures.items():
            error = future.exception()
            if job is not None:
                self.outcomes.append(outcome(job, None if error else future.result(), error))
        self.outcomes += [
            outcome(job, *one) for job, one in zip(items, outcomes(results), strict=True)
        ]

    def faults(self) -> list[str]:
        """Tasks that met no scribbler, and whose outcome is not right."""
        begun = journal.begun(self.jobs)
        scribblers = self.pids_of_scribblers()
        found = []
        for one in self.outcomes:
            pids = set(begun.get(one.number, ()))
            if one.ending == "right" or pids & scribblers:
                continue
            if one.ending != "WRONG" and not pids:
                continue  # it was a scribbler's, who made it fail before it began
            found.append(f"task {one.number} in {pids or 'no worker'}: {one.text}")
        return found

    def is_usable(self) -> bool:
        """What the last burst left behind costs a task at most the attempts that it is allowed."""
        self._kill_scribblers()
        return self.pool.options(retries=2).submit(pow, 2, 5).result(STUCK_S) == 32

    def pids_of_scribblers(self) -> set[int]:
        return {pid for pids in journal.begun(self.scribblers).values() for pid in pids}

    def _submit_scribbler(self) -> Future[object]:
        times = self._random.randrange(1, MOST_SCRIBBLES_IN_A_BURST)
        self.scribbles += times
        return self.pool.submit(
            scribbling.scribble,
            str(self.scribblers),
            self.bursts,
            self._random.getrandbits(32),
            times,
            self._random.choice(list(scribbling.ENDS)),
        )

    def _job(self) -> work.Job:
        self._numbers += 1
        return work.make_job(self._numbers, self._random, SORTS)

    def _kill_scribblers(self) -> None:
        now = {worker.pid for worker in self.pool.stats().workers if worker.pid}
        for pid in now & self.pids_of_scribblers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


SORTS = tuple(sort for sort in work.MIXTURE if sort.name in ("tiny", "short", "middling", "blobs"))


def peak_memory() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    raise AssertionError("the kernel does not say VmHWM")


def run(scribbles: int, seed: int) -> int:
    """Prints what it counts; the program's exit code."""
    mark = watch.mark_this_process()
    began = time.monotonic()
    before = leaks.take_stock()
    memory_before = peak_memory()
    with tempfile.TemporaryDirectory() as folder, LiveLine() as live:
        with owngil.Pool(2, max_restarts=None) as pool:
            all_ = Run(pool, Path(folder), seed)
            live.show("scribbles", scribbles)
            with watch.StallWatch(all_.outcomes.__len__):
                while all_.scribbles < scribbles:
                    all_.burst()
            usable = all_.is_usable()
            restarts = pool.stats().restarts
        faults = all_.faults()
        scribblers = len(all_.pids_of_scribblers())
    memory = peak_memory() - memory_before
    ends = Counter(one.ending for one in all_.outcomes)
    done, stuck = all_.scribbles, all_.stuck
    del pool, all_  # and with it the tracebacks, in which the pool would live on
    left = watch.what_is_left(before, mark)
    print(
        f"{done:,} scribbles by {scribblers:,} workers in {time.monotonic() - began:.0f} s, "
        f"seed {seed}; {restarts:,} workers were replaced"
    )
    shown = ", ".join(f"{count:,} {kind}" for kind, count in ends.most_common())
    print(f"{ends.total():,} tasks beside them: {shown}")
    print(
        f"{len(faults):,} wrong in clean workers, {stuck:,} stuck in scribblers; peak memory of "
        f"the user's process +{memory >> 20:,} MiB; {len(left):,} leaked"
    )
    faults += [f"left behind: {line}" for line in left]
    if not usable:
        faults.append("the pool is not usable any more")
    if memory > MOST_MEMORY:
        faults.append("the user's process was made to use too much memory")
    for line in faults[:FAULTS_SHOWN]:
        print(f"  FAULT {line}")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev scribbles",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="default: 10000")
    add_seed(parser)
    given = parser.parse_args()
    return run(given.count, given.seed)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: BSD-3-Clause
"""Threads of the user's process that keep a pool busy, each in a way of its own.

Threads: one for each way; `with` starts them, and leaving it waits until all that they had
submitted has ended.
Not: a judge; the tally is.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import work
from tally import Tally

import owngil

IN_FLIGHT = 24  # tasks that each thread has at once
RETRIES = 2

MakeJob = Callable[[int, random.Random], work.Job]
Run = Callable[[str, work.Job], work.Answer]


class Users:
    def __init__(
        self,
        pool: owngil.Pool,
        journal: Path,
        tally: Tally,
        seed: object,
        make_job: MakeJob = work.make_job,
        functions: Sequence[Run] = (work.run,),
    ) -> None:
        self.pool, self.journal, self.tally = pool, str(journal), tally
        self.errors: list[BaseException] = []  # of the threads themselves
        self._make_job = make_job
        self._functions = functions
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._use, args=(way, random.Random(f"{seed} {n}")), name=way.__name__
            )
            for n, way in enumerate(
                (self.by_result, self.by_retries, self.by_callback, self.by_map)
            )
        ]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def by_result(self, random_: random.Random) -> None:
        """Submit ahead, ask for the oldest."""
        pending: deque[tuple[work.Job, Future[object]]] = deque()
        while pending or not self._stopping.is_set():
            while len(pending) < IN_FLIGHT and not self._stopping.is_set():
                job = self._job(random_)
                pending.append((job, self.pool.submit(self._one(random_), self.journal, job)))
            self._judge(*pending.popleft())

    def by_retries(self, random_: random.Random) -> None:
        """What dies runs again, so often."""
        again = self.pool.options(retries=RETRIES, retry_on=owngil.WorkerDied)
        while not self._stopping.is_set():
            jobs = [self._job(random_, 1 + RETRIES) for _ in range(IN_FLIGHT // 2)]
            futures = [again.submit(self._one(random_), self.journal, job) for job in jobs]
            for job, future in zip(jobs, futures, strict=True):
                self._judge(job, future)

    def by_callback(self, random_: random.Random) -> None:
        """Submit as soon as a callback has made room."""
        allowed = threading.Semaphore(IN_FLIGHT)

        def submit(job: work.Job) -> None:
            def ended(future: Future[object]) -> None:
                self._judge(job, future)
                allowed.release()

            self.pool.submit(self._one(random_), self.journal, job).add_done_callback(ended)

        while not self._stopping.is_set():
            allowed.acquire()
            submit(self._job(random_))
        for _ in range(IN_FLIGHT):
            allowed.acquire()

    def by_map(self, random_: random.Random) -> None:
        """One map after the other, in chunks of the pool's choosing or of a given size."""
        while not self._stopping.is_set():
            jobs = [self._job(random_) for _ in range(random_.randrange(1, 4 * IN_FLIGHT))]
            results = self.pool.map(
                self._one(random_),
                [self.journal] * len(jobs),
                jobs,
                chunksize=random_.choice((None, None, 1, 7, 50)),
                buffersize=random_.choice((None, 20)),
            )
            for job, (answer, error) in zip(jobs, outcomes(results), strict=True):
                self.tally.judge(job, answer, error)

    def _job(self, random_: random.Random, may_begin: int = 1) -> work.Job:
        return self._make_job(self.tally.next_number(may_begin), random_)

    def _one(self, random_: random.Random) -> Run:
        return random_.choice(self._functions)

    def _judge(self, job: work.Job, future: Future[object]) -> None:
        error = future.exception()
        self.tally.judge(job, future.result() if error is None else None, error)

    def _use(self, way: Callable[[random.Random], None], random_: random.Random) -> None:
        try:
            way(random_)
        except BaseException as error:
            self.errors.append(error)


def outcomes(results: Iterator[object]) -> Iterator[tuple[object, BaseException | None]]:
    """All of a map, of which an item that failed does not hide the rest."""
    while True:
        try:
            answer = next(results)
        except StopIteration:
            return
        except Exception as error:
            yield None, error
        else:
            yield answer, None

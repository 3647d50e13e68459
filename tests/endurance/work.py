# SPDX-License-Identifier: BSD-3-Clause
"""Tasks of mixed length and size whose right answer is known without doing the work.

Runs in workers (`run`) and in the user's process (`Job`), from the same numbers.
"""

from __future__ import annotations

import os
import random
import signal
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import blobs
import journal

_PRIME, _FACTOR, _STEP = (1 << 61) - 1, 6364136223846793005, 1442695040888963407
_PAGE = 4096
_MIB = 1 << 20

# number, what was worked out, sum of the data, bytes, sums of the blobs, blobs
Answer = tuple[int, int, int, bytes, tuple[int, ...], tuple[blobs.Blob, ...]]


class TaskError(Exception):
    """Raised by a task that is to raise; with the answer that it would have given."""


@dataclass(frozen=True)
class Job:
    """One task: what it gets, and so what must come of it."""

    number: int
    steps: int = 0  # of fixed work in pure Python, about 12 a microsecond
    sleep_s: float = 0.0
    data: bytes = b""
    answer_bytes: int = 0
    blobs: tuple[blobs.Blob, ...] = ()  # written over by the task, which has them to itself
    answer_blobs: tuple[int, ...] = ()  # how many bytes each has
    raises: bool = False
    dies: bool = False  # then there is no right answer

    def right_answer(self) -> Answer:
        """In closed form: what `run` finds step by step."""
        power = pow(_FACTOR, self.steps, _PRIME)
        series = (power - 1) * pow(_FACTOR - 1, -1, _PRIME)
        worked = (power * self.number + _STEP * series) % _PRIME
        return self._answer(worked)

    def _answer(self, worked: int) -> Answer:
        return (
            self.number,
            worked,
            zlib.crc32(self.data),
            pattern(self.number, self.answer_bytes),
            tuple(blob.checksum() for blob in self.blobs),
            tuple(blob_of(self.number, size) for size in self.answer_blobs),
        )


def run(path: str, job: Job) -> Answer:
    """Runs in a worker."""
    journal.begin(path, job.number)
    worked = job.number
    for _ in range(job.steps):
        worked = (worked * _FACTOR + _STEP) % _PRIME
    if job.sleep_s:
        time.sleep(job.sleep_s)
    if job.dies:
        end_by(signal.SIGKILL)
    answer = job._answer(worked)
    for blob in job.blobs:
        blob.scribble(job.number)
    if job.raises:
        raise TaskError(*answer)
    return answer


def run_in_a_process(path: str, job: Job) -> Answer:
    """The same, as something that no interpreter with a GIL of its own can run."""
    import readline  # noqa: F401

    return run(path, job)


def end_by(number: int) -> None:
    """Runs in a worker, and ends it."""
    os.kill(os.getpid(), number)
    signal.pause()  # it may be delivered a moment later


def pattern(number: int, size: int) -> bytes:
    """Bytes that tell whose they are, and which page of them."""
    pages = range(-(-size // _PAGE))
    words = ((number << 20 | page).to_bytes(8, "little") for page in pages)
    return b"".join(word * (_PAGE // 8) for word in words)[:size]


def blob_of(number: int, size: int) -> blobs.Blob:
    return blobs.Blob(bytearray(pattern(number, size)))


@dataclass(frozen=True)
class Mixture:
    """One sort of job, and how often it is taken."""

    name: str
    weight: float
    make: Callable[[Job, random.Random], Job]


MIXTURE = (
    Mixture("tiny", 40, lambda job, _: job),
    Mixture("short", 20, lambda job, r: replace(job, steps=r.randrange(20_000))),
    Mixture("long", 4, lambda job, r: replace(job, steps=r.randrange(400_000))),
    Mixture("asleep", 6, lambda job, r: replace(job, sleep_s=r.uniform(0, 0.02))),
    Mixture("raises", 6, lambda job, _: replace(job, raises=True)),
    Mixture("middling", 10, lambda job, r: _large(job, r, 4 * _PAGE)),
    Mixture("large", 4, lambda job, r: _large(job, r, 6 * _MIB)),
    Mixture("blobs", 6, lambda job, r: _with_blobs(job, r)),
)


def make_job(number: int, random_: random.Random, sorts: Sequence[Mixture] = MIXTURE) -> Job:
    (sort,) = random_.choices(sorts, [sort.weight for sort in sorts])
    return sort.make(Job(number), random_)


def _large(job: Job, random_: random.Random, most: int) -> Job:
    data = pattern(job.number, random_.randrange(most))
    return replace(job, data=data, answer_bytes=random_.randrange(most))


def _with_blobs(job: Job, random_: random.Random) -> Job:
    """Some large buffers there and some back, which no pickle has in it."""

    def sizes() -> list[int]:
        return [int(2 ** random_.uniform(10, 21)) for _ in range(random_.randrange(4))]

    given = tuple(blob_of(job.number + n, size) for n, size in enumerate(sizes()))
    return replace(job, blobs=given, answer_blobs=tuple(sizes()))

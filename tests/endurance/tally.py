# SPDX-License-Identifier: BSD-3-Clause
"""What came of each task, held against what must have come of it."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

import work

import owngil

# Of one way to use the pool: how a task may end beside its right answer.
ANSWERS_HELD = 24  # with large buffers: to be the same though their workers die

Excuse = Callable[[work.Job, BaseException], bool]


def its_worker_died(job: work.Job, error: BaseException) -> bool:
    return isinstance(error, owngil.WorkerDied)


class Tally:
    """Counts outcomes by name; keeps what is wrong. Threads: any; one lock guards everything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.submitted = 0
        self.ended = 0
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._may_begin: dict[int, int] = {}  # those that may begin more than once
        self._answered: set[int] = set()
        self._held: deque[tuple[work.Job, object]] = deque()

    def next_number(self, may_begin: int = 1) -> int:
        with self._lock:
            self.submitted += 1
            if may_begin != 1:
                self._may_begin[self.submitted] = may_begin
            return self.submitted

    def judge(
        self,
        job: work.Job,
        answer: object,
        error: BaseException | None,
        excuse: Excuse = its_worker_died,
    ) -> None:
        """The task has ended so."""
        right = job.right_answer()
        if error is None and job.answer_blobs:
            self._hold(job, answer)
        if error is None:
            is_right = not job.raises and not job.dies and answer == right
        else:
            is_right = job.raises and type(error) is work.TaskError and error.args == right
        with self._lock:
            self.ended += 1
            if is_right:
                self.counts["right"] += 1
                self._answered.add(job.number)
            elif error is not None and excuse(job, error):
                self.counts[type(error).__name__] += 1
            else:
                self.wrong.append(f"task {job.number} ended with {error!r:.200} {answer!r:.200}")

    def let_go(self) -> None:
        """Of all answers that are held."""
        while self._held:
            self._check_oldest()

    def _hold(self, job: work.Job, answer: object) -> None:
        self._held.append((job, answer))
        if len(self._held) > ANSWERS_HELD:
            self._check_oldest()

    def _check_oldest(self) -> None:
        try:
            job, answer = self._held.popleft()
        except IndexError:
            return  # another thread was first
        if answer != job.right_answer():
            with self._lock:
                self.wrong.append(f"the answer of task {job.number} has changed: {answer!r:.200}")

    def begun_wrongly(self, begun: Mapping[int, Sequence[int]]) -> list[str]:
        """Where the journal does not go with the outcomes."""
        return [
            *(
                f"task {number} has begun {len(pids)} times"
                for number, pids in begun.items()
                if len(pids) > self._may_begin.get(number, 1)
            ),
            *(f"task {n} has an answer, but never began" for n in self._answered - begun.keys()),
            *(f"task {n} began, but was never submitted" for n in begun if n > self.submitted),
        ]

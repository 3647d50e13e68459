# SPDX-License-Identifier: BSD-3-Clause
"""How long from a worker's death until another one has answered a task?

The pool has one worker, which is killed with SIGKILL; the clock starts when the kernel says that
it is gone. A pool that breaks by that is opened again, as its user would have to: that counts.
idle      the worker had nothing to do
in-task   it was in a task, which fails by that
multiprocessing.Pool is left out: its idle worker dies with a lock that the next one waits for.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from harness.contest import Variant, main
from harness.executors import KINDS, OWNGIL, PPE, Face
from harness.figures import Goal, Metric
from harness.meeting import Meeting
from harness.turns import Contender, Settings, Turn
from harness.work import meet

_DEATHS, _DEATHS_IF_QUICK = 20, 3
_MOST_BROKEN = 3
_NAMES = (OWNGIL, f"{PPE} fork", f"{PPE} forkserver", "loky", "pebble")


class OpenPool:
    """A pool of one worker, opened again when it is found broken."""

    def __init__(self, open_: Callable[[int], AbstractContextManager[Face]]) -> None:
        self._open = open_
        self._stack = ExitStack()
        self._face = self._stack.enter_context(open_(1))

    def submit(self, function: Callable[..., Any], *arguments: object) -> Any:
        """A future."""
        assert self._face.submit is not None
        return self._face.submit(function, *arguments)

    def answer(self) -> int:
        """The worker's pid, by a task of its own."""
        for _ in range(_MOST_BROKEN):
            try:
                pid: int = self.submit(os.getpid).result()
                return pid
            except Exception:  # each has an error of its own for a pool that is broken
                self.close()
                self._face = self._stack.enter_context(self._open(1))
        raise AssertionError("pool after pool was broken")

    def close(self) -> None:
        """Let it go, broken or not."""
        self._stack.close()


def when_idle(pool: OpenPool) -> float:
    """Kill the worker between tasks; the seconds from its death to the next one's answer."""
    return _kill_and_ask(pool, pool.answer())


def in_task(pool: OpenPool) -> float:
    """Kill it in a task; the same."""
    worker = pool.answer()
    with Meeting() as meeting:
        lost = pool.submit(meet, meeting.address)
        meeting.gather(1)
        seconds = _kill_and_ask(pool, worker)
        if lost.exception() is None:
            raise AssertionError("the task of a dead worker has a result")
    return seconds


def _kill_and_ask(pool: OpenPool, worker: int) -> float:
    pidfd = os.pidfd_open(worker)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [])
        began = time.perf_counter()
        answered = pool.answer()
        seconds = time.perf_counter() - began
    finally:
        os.close(pidfd)
    if answered == worker:
        raise AssertionError("the dead have answered")
    return seconds


def deaths(name: str, measure: Callable[[OpenPool], float]) -> Contender:
    """A contender whose turn is some deaths in a row."""

    @contextmanager
    def open_(settings: Settings) -> Iterator[Turn]:
        pool = OpenPool(KINDS[name].open)
        count = _DEATHS_IF_QUICK if settings.quick else _DEATHS
        try:
            yield lambda number: {"answer": [measure(pool) for _ in range(count)]}
        finally:
            pool.close()

    return Contender(name, open_, KINDS[name].missing)


def variant(name: str, title: str, measure: Callable[[OpenPool], float]) -> Variant:
    """One way to die."""
    return Variant(
        name,
        title,
        [deaths(each, measure) for each in _NAMES],
        (Metric("answer", "latency", "ms", 1e3),),
        (Goal("answer", "at most", 5),),
        references=(f"{PPE} fork",),
    )


VARIANTS = (
    variant("idle", "killed between two tasks", when_idle),
    variant("in-task", "killed in a task", in_task),
)

if __name__ == "__main__":
    main(__doc__, VARIANTS)

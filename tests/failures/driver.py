# SPDX-License-Identifier: BSD-3-Clause
"""Makes an event happen at one stage of one task, among neighbours, and says what came of each.

The neighbours are always the same: a task that the other worker is in at that moment, twenty that
were submitted behind the event's task (most of them lie in the same worker's ring), and afterwards
one map over both workers. All of them must give their right results.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stages
from matrix import AFTER_COMMIT, BEFORE_COMMIT, GUARDIAN, IN_MAP, SHUTDOWN, TEMPLATE

import owngil
from harness import processes
from harness.conditions import wait_until
from harness.gate import Gate

BEHIND = 20
LIMIT_S = 0.5  # for tasks that would never end
SIGNALS = {
    "SIGKILL": signal.SIGKILL,
    "SIGTERM": signal.SIGTERM,
    "SIGABRT": signal.SIGABRT,
    "segfault": signal.SIGSEGV,
}

Outcome = tuple[Any, BaseException | None]
Finish = Callable[[], Outcome]  # waits for what comes of the event's task


@dataclass(frozen=True)
class Seen:
    value: Any
    error: BaseException | None
    pid: int  # of the worker in which it happened


class Cell:
    """One event at one stage, in a pool of two workers."""

    def __init__(self, pool: owngil.Pool, folder: Path, event: str, limited: bool) -> None:
        self.pool = pool
        self.terms = pool.options(timeout=LIMIT_S) if limited else pool
        self.event = event
        self.home = os.getpid()
        self.folder = folder

    def happen(self, stage: str) -> Seen:
        """Let it happen; raises what a neighbour raises. What the workers write is not kept."""
        with (
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            return self._happen(stage)

    def _happen(self, stage: str) -> Seen:
        gate = Gate(self.folder)
        try:
            held = self.pool.submit(gate.enter, "neighbour")
            ((neighbour, _),) = gate.wait_for_entered()
            victim = self._other_than(neighbour)
            # What it imports for that shall not count against a limit.
            assert self.pool.submit(stages.identity, 0).result() == 0
            finish = FROM_OUTSIDE.get(self.event, WAYS[stage])(self, victim)
            if stage == SHUTDOWN:
                behind, results = [], iter(())
            else:
                behind = [self.pool.submit(stages.identity, n) for n in range(BEHIND)]
                results = self.pool.map(stages.identity, range(50), chunksize=7)
            value, error = finish()
            assert [future.result() for future in behind] == list(range(len(behind)))
            assert not held.done()
            gate.open()
            assert held.result() == neighbour
            assert list(results) == list(range(50 if behind else 0))
        finally:
            gate.open()
        return Seen(value, error, victim)

    def lives(self, pid: int) -> bool:
        return pid in self._pids()

    def _pids(self) -> list[int]:
        workers = self.pool.stats().workers
        kind = workers[0].kind  # not of those that they may fall back to
        return [worker.pid for worker in workers if worker.pid and worker.kind == kind]

    def _other_than(self, pid: int) -> int:
        """The worker that is not held; it may still be starting after the cell before."""

        def found() -> list[int]:
            return [other for other in self._pids() if other != pid]

        (victim,) = wait_until(found, "the other worker")
        return victim


def _future(future: Any) -> Finish:
    def finish() -> Outcome:
        try:
            error = future.exception()
        except CancelledError as cancelled:
            return None, cancelled
        return (None, error) if error is not None else (future.result(), None)

    return finish


def _cancelled(cell: Cell, _: int) -> Finish:
    future, _ = _running(cell)
    assert future.cancel(running=True)  # type: ignore[call-arg]
    return _future(future)


def _cancelled_in_vain(cell: Cell, _: int) -> Finish:
    begun = cell.folder / "begun"
    future = cell.pool.submit(stages.wait_for_a_lock, begun)
    wait_until(begun.exists, "the task has begun")
    assert future.cancel(running=True)  # type: ignore[call-arg]
    return _future(future)


def _killed(cell: Cell, _: int) -> Finish:
    future, _ = _running(cell)
    assert cell.pool.kill(future)
    return _future(future)


def _running(cell: Cell) -> tuple[Any, Gate]:
    """A task that has begun and does not end by itself."""
    gate = Gate(cell.folder)
    future = cell.pool.submit(gate.enter)
    gate.wait_for_entered()
    return future, gate


def _decoding(cell: Cell, _: int) -> Finish:
    argument = stages.WhenUnpickled(cell.event, cell.home)
    return _future(cell.terms.submit(stages.identity, argument))


def _executing(cell: Cell, _: int) -> Finish:
    return _future(cell.terms.submit(stages.execute, cell.event))


def _encoding(cell: Cell, _: int) -> Finish:
    return _future(cell.terms.submit(stages.make_pickled, cell.event, cell.home))


def _before_commit(cell: Cell, _: int) -> Finish:
    return _future(cell.terms.submit(stages.make_dropped, cell.event, cell.home))


def _after_commit(cell: Cell, victim: int) -> Finish:
    """With nothing behind it in the ring, or the next task might begin before the event."""
    outcome = _future(cell.terms.submit(stages.fire_after_commit, cell.event))()
    wait_until(lambda: victim not in cell._pids(), "the worker's death")
    return lambda: outcome


def _item(place: int) -> Callable[[Cell, int], Finish]:
    def way(cell: Cell, _: int) -> Finish:
        count = stages.ITEMS
        results = cell.terms.map(
            stages.item, range(count), [place] * count, [cell.event] * count, chunksize=count
        )

        def finish() -> Outcome:
            found = list(_outcomes(results))
            value, error = found.pop(place)
            others = [number for number in range(count) if number != place]
            assert found == [(number, None) for number in others]
            return (1 if value == place else value), error

        return finish

    return way


def _receiving(cell: Cell, victim: int) -> Finish:
    """The task lies in the ring of a worker that is in another task, and dies of a signal."""
    gate = Gate(cell.folder)
    running = cell.pool.submit(gate.enter)
    assert gate.wait_for_entered()[0][0] == victim
    outcome = _future(cell.pool.submit(stages.identity, 1))
    os.kill(victim, SIGNALS[cell.event])
    assert isinstance(running.exception(), owngil.WorkerDied)
    gate.open()
    return outcome


def _idle(cell: Cell, victim: int) -> Finish:
    os.kill(victim, SIGNALS[cell.event])
    return _future(cell.pool.submit(stages.identity, 1))


def _shutdown(cell: Cell, _: int) -> Finish:
    """The pool has been told to end while tasks run and others wait behind them."""
    gate = Gate(cell.folder)
    outcome = _future(cell.terms.submit(stages.execute_at, gate, cell.event))
    gate.wait_for_entered()
    behind = [cell.pool.submit(stages.identity, n) for n in range(BEHIND)]
    cell.pool.shutdown(wait=False)
    gate.open()

    def finish() -> Outcome:
        assert [future.result() for future in behind] == list(range(BEHIND))
        return outcome()

    return finish


def _template(cell: Cell, victim: int) -> Finish:
    family = processes.family(os.getpid())
    templates = [process.pid for process in family if process.name == "owngil-template"]
    return _kill_while_running(cell, templates, victim)


def _guardian(cell: Cell, victim: int) -> Finish:
    (guardian,) = processes.guardians(os.getpid())
    return _kill_while_running(cell, [guardian.pid], victim)


def _kill_while_running(cell: Cell, pids: list[int], victim: int) -> Finish:
    """A task runs through it; then its worker dies, too, and is to be replaced."""
    running, gate = _running(cell)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(processes.read, pids)), "the end of what was killed")
    gate.open()
    assert running.result() == victim
    os.kill(victim, signal.SIGKILL)
    return _future(cell.pool.submit(stages.identity, 1))


def _outcomes(results: Iterator[Any]) -> Iterator[Outcome]:
    while True:
        try:
            value = next(results)
        except StopIteration:
            return
        except BaseException as error:
            yield None, error
        else:
            yield value, None


# Events that come from outside, whatever the stage.
FROM_OUTSIDE: dict[str, Callable[[Cell, int], Finish]] = {
    "future.cancel(running=True)": _cancelled,
    "future.cancel(running=True) of what waits for a lock": _cancelled_in_vain,
    "pool.kill(future)": _killed,
}

WAYS: dict[str, Callable[[Cell, int], Finish]] = {
    "decoding": _decoding,
    "executing": _executing,
    "encoding": _encoding,
    BEFORE_COMMIT: _before_commit,
    AFTER_COMMIT: _after_commit,
    "receiving": _receiving,
    "idle": _idle,
    SHUTDOWN: _shutdown,
    TEMPLATE: _template,
    GUARDIAN: _guardian,
    **{
        name: _item(place)
        for name, place in zip(IN_MAP, (0, stages.ITEMS // 2, stages.ITEMS - 1), strict=True)
    },
}

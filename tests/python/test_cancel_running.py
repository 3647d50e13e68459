# SPDX-License-Identifier: BSD-3-Clause
"""Stopping a task that has begun: the exception in it, the grace, the end of its worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from pathlib import Path
from typing import Any

import pytest
import stubborn
import tasks

import owngil
from harness import kinds
from harness.conditions import wait_until
from harness.gate import Gate

pytestmark = pytest.mark.kinds("process", "apart")

LONG_GRACE_S = 600.0
# In interpreters.
INTERRUPTIBLE = (stubborn.spin, *stubborn.WOKEN) if kinds.wakes() else (stubborn.spin,)

# How a task takes its time: in Python, or in a call that a signal ends.
pauses = pytest.mark.parametrize("pause", [stubborn.busy, time.sleep], ids=["busy", "asleep"])


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    return tmp_path / "begun"


def started(pool: owngil.Pool | owngil.PoolOptions, task: Any, begun: Path, *args: Any) -> Any:
    future = pool.submit(task, begun, *args)
    wait_until(begun.exists, "the task has begun")
    return future


@pytest.mark.parametrize("task", stubborn.EASY)
def test_a_task_is_stopped_wherever_python_can_be_interrupted(
    pool: owngil.Pool, worker_kind: str, begun: Path, task: Callable[[Path], object]
) -> None:
    if worker_kind != "process" and task not in INTERRUPTIBLE:
        pytest.skip("no signal can interrupt what blocks in one of several interpreters")
    future = started(pool, task, begun)
    assert future.cancel(running=True, grace=LONG_GRACE_S)
    with pytest.raises(CancelledError):
        future.result()
    assert future.cancelled()
    assert future.done()
    assert pool.stats().restarts == 0
    assert pool.submit(tasks.echo, 1).result() == 1


@pytest.mark.parametrize("task", stubborn.HARD)
def test_a_task_that_does_not_stop_loses_its_worker_after_the_grace(
    pool: owngil.Pool, worker_kind: str, begun: Path, task: Callable[[Path], object]
) -> None:
    stubborn.skip_what_is_refused(task, worker_kind)
    future = started(pool, task, begun)
    assert future.cancel(running=True, grace=0.05)
    with pytest.raises(CancelledError):
        future.result()
    assert pool.submit(tasks.echo, 1).result() == 1
    wait_until(lambda: pool.stats().restarts == 1)


def test_a_plain_cancel_leaves_what_has_begun_alone(
    pool: owngil.Pool, gate: Gate, begun: Path
) -> None:
    future = pool.submit(gate.enter)
    gate.wait_for_entered()
    assert not future.cancel()
    gate.open()
    assert future.result() > 0


def test_cancel_running_makes_a_plain_cancel_stop_what_has_begun(
    pool: owngil.Pool, begun: Path
) -> None:
    future = started(pool.options(cancel_running=True), stubborn.spin, begun)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()


def test_what_has_not_begun_never_runs(pool: owngil.Pool, gate: Gate, tmp_path: Path) -> None:
    held = [pool.submit(gate.enter, number) for number in range(2)]
    gate.wait_for_entered(2)
    waiting = [pool.submit(tasks.touch, tmp_path / f"ran-{n}") for n in range(20)]
    assert all(future.cancel(running=True) for future in waiting)
    gate.open()
    wait(held)
    assert pool.submit(tasks.echo, 1).result() == 1
    assert not list(tmp_path.glob("ran-*"))


@pauses
def test_finally_and_with_blocks_run_to_their_end(
    pool: owngil.Pool, begun: Path, tmp_path: Path, pause: Callable[[float], object]
) -> None:
    cleaned = tmp_path / "cleaned"
    future = started(pool, stubborn.clean_up, begun, cleaned, pause)
    assert future.cancel(running=True, grace=LONG_GRACE_S)
    with pytest.raises(CancelledError):
        future.result()
    assert cleaned.exists()
    assert pool.stats().restarts == 0


def test_it_is_raised_again_in_a_task_that_swallows_it(
    pool: owngil.Pool, begun: Path, tmp_path: Path
) -> None:
    swallowed = tmp_path / "swallowed"
    future = started(pool, stubborn.swallow_once, begun, swallowed)
    assert future.cancel(running=True, grace=LONG_GRACE_S)
    with pytest.raises(CancelledError):
        future.result()
    assert swallowed.exists()
    assert pool.stats().restarts == 0


@pauses
def test_it_never_hits_a_del(
    pool: owngil.Pool, begun: Path, tmp_path: Path, capfd: Any, pause: Callable[[float], object]
) -> None:
    destroyed = tmp_path / "destroyed"
    future = started(pool, stubborn.destroy, begun, destroyed, pause)
    assert future.cancel(running=True, grace=LONG_GRACE_S)
    with pytest.raises(CancelledError):
        future.result()
    assert destroyed.exists()
    assert pool.submit(tasks.echo, 1).result() == 1
    assert "TaskCancelled" not in capfd.readouterr().err


def test_it_never_hits_the_next_task(pool: owngil.Pool, begun: Path) -> None:
    """Many short tasks are told to stop at about the time when they end by themselves."""
    for number in range(200):
        future = pool.submit(tasks.count_to, number * 50)
        cancelled = future.cancel(running=True, grace=LONG_GRACE_S)
        after = [pool.submit(tasks.echo, n) for n in range(4)]
        assert [other.result() for other in after] == list(range(4))
        if cancelled:
            with pytest.raises(CancelledError):
                future.result()
        else:
            assert future.result() == sum(range(number * 50))
    assert pool.stats().restarts == 0


def test_it_never_hits_what_follows_a_sleep(pool: owngil.Pool) -> None:
    """The same with tasks that sleep, as those behind them do."""
    for number in range(200):
        future = pool.submit(time.sleep, number * 5e-6)
        cancelled = future.cancel(running=True, grace=LONG_GRACE_S)
        after = [pool.submit(time.sleep, 1e-4) for _ in range(2)]
        assert [other.result() for other in after] == [None] * 2
        if cancelled:
            with pytest.raises(CancelledError):
                future.result()
        else:
            assert future.result() is None
    assert pool.stats().restarts == 0


class Encoded:
    """Takes its time to be pickled."""

    def __init__(self, begun: Path, pause: Callable[[float], object]) -> None:
        self.begun = begun
        self.pause = pause

    def __reduce__(self) -> tuple[Any, ...]:
        self.begun.touch()
        self.pause(0.3)
        return str, ("encoded",)


@pauses
def test_it_never_hits_the_encoding_of_a_result(
    pool: owngil.Pool, begun: Path, pause: Callable[[float], object]
) -> None:
    future = started(pool, Encoded, begun, pause)
    assert future.cancel(running=True, grace=LONG_GRACE_S)
    with pytest.raises(CancelledError):
        future.result()
    assert pool.stats().restarts == 0


def test_a_task_can_ask_whether_it_is_to_stop(pool: owngil.Pool, begun: Path) -> None:
    assert not owngil.cancelled()
    assert not pool.submit(owngil.cancelled).result()
    future = started(pool, stubborn.ask, begun)
    assert future.cancel(running=True, grace=LONG_GRACE_S)
    with pytest.raises(CancelledError):
        future.result()
    assert pool.stats().restarts == 0
    assert not pool.submit(owngil.cancelled).result()


def test_callbacks_and_waiters_learn_of_it(pool: owngil.Pool, begun: Path) -> None:
    called: list[bool] = []
    future = pool.submit(stubborn.spin, begun)
    future.add_done_callback(lambda done: called.append(done.cancelled()))
    wait_until(begun.exists)
    assert future.cancel(running=True)
    done, _ = wait([future])
    assert done == {future}
    wait_until(lambda: called == [True])


def test_cancelling_what_has_ended_changes_nothing(pool: owngil.Pool) -> None:
    future = pool.submit(tasks.echo, 5)
    assert future.result() == 5
    assert not future.cancel(running=True)
    assert not pool.kill(future)
    assert future.result() == 5


def test_kill_ends_the_worker_at_once(pool: owngil.Pool, begun: Path) -> None:
    future = started(pool, stubborn.swallow, begun)
    assert pool.kill(future)
    with pytest.raises(CancelledError):
        future.result()
    assert pool.submit(tasks.echo, 1).result() == 1


def test_kill_takes_a_future_of_a_pool(pool: owngil.Pool) -> None:
    with pytest.raises(TypeError, match="future"):
        pool.kill("nothing")  # type: ignore[arg-type]


@pytest.mark.parametrize("grace", [-1, float("nan")])
def test_a_grace_that_makes_no_sense_is_refused(pool: owngil.Pool, grace: float) -> None:
    future = pool.submit(tasks.echo, 1)
    with pytest.raises(ValueError, match="grace"):
        future.cancel(running=True, grace=grace)


def test_a_closed_map_stops_the_items_that_run(pool: owngil.Pool, tmp_path: Path) -> None:
    marks = [tmp_path / f"begun-{n}" for n in range(10)]
    results: Any = pool.options(cancel_running=True).map(stubborn.spin, marks, chunksize=5)
    wait_until(lambda: sum(mark.exists() for mark in marks) == 2)
    results.close()
    assert pool.submit(tasks.echo, 1).result() == 1
    assert sum(mark.exists() for mark in marks) == 2
    assert pool.stats().restarts == 0


# --- asyncio


def test_a_future_can_be_awaited(pool: owngil.Pool) -> None:
    async def main() -> Any:
        return await pool.submit(tasks.add, 40, 2)

    assert asyncio.run(main()) == 42


def test_cancelling_who_awaits_a_future_stops_the_task(pool: owngil.Pool, begun: Path) -> None:
    async def main() -> Any:
        future = pool.submit(stubborn.spin, begun)

        async def waiter() -> None:
            await future

        waiting = asyncio.create_task(waiter())
        while not begun.exists():
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return future

    future = asyncio.run(main())
    with pytest.raises(CancelledError):
        future.result()
    assert pool.stats().restarts == 0


def test_asyncio_timeout_stops_the_task(pool: owngil.Pool, begun: Path) -> None:
    async def main() -> Any:
        future = pool.submit(stubborn.spin, begun)
        while not begun.exists():
            await asyncio.sleep(0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await future
        return future

    future = asyncio.run(main())
    wait([future])
    assert future.cancelled()


def test_run_in_executor_stops_the_task_on_such_terms(pool: owngil.Pool, begun: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        executor: Any = pool.options(cancel_running=True)
        future = loop.run_in_executor(executor, stubborn.spin, begun)
        while not begun.exists():
            await asyncio.sleep(0.001)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future

    asyncio.run(main())
    assert pool.submit(tasks.echo, 1).result() == 1
    wait_until(lambda: pool.stats().running == 0)
    assert pool.stats().restarts == 0

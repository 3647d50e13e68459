# SPDX-License-Identifier: BSD-3-Clause
"""options(timeout=..., deadline=...): the late task fails, its worker goes, nobody else notices."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from concurrent.futures import as_completed, wait
from pathlib import Path
from typing import Any

import pytest
import stubborn
import tasks

import owngil
from harness.conditions import wait_until
from harness.gate import Gate

pytestmark = pytest.mark.kinds("process", "apart")

LIMIT_S = 0.4


@pytest.mark.parametrize("task", [*stubborn.EASY, *stubborn.HARD, stubborn.call_c_with_the_gil])
def test_a_task_fails_when_its_limit_has_passed_whatever_it_is_stuck_in(
    pool: owngil.Pool, worker_kind: str, tmp_path: Path, task: Callable[[Path], object]
) -> None:
    stubborn.skip_what_is_refused(task, worker_kind)
    future = pool.options(timeout=LIMIT_S).submit(task, tmp_path / "begun")
    with pytest.raises(owngil.TaskTimeout, match=r"limit of 0\.4 s") as caught:
        future.result()
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.limit == LIMIT_S
    assert not caught.value.of_deadline
    assert caught.value.seconds is not None
    assert caught.value.seconds >= LIMIT_S
    assert caught.value.pid
    assert caught.value.rank in (0, 1)
    assert pool.submit(tasks.echo, 1).result() == 1


def test_the_clock_starts_when_the_task_begins(pool: owngil.Pool, gate: Gate) -> None:
    held = [pool.submit(gate.enter, number) for number in range(2)]
    gate.wait_for_entered(2)
    # They wait for longer than their limit behind the two that are held.
    waiting = [pool.options(timeout=LIMIT_S).submit(tasks.echo, n) for n in range(20)]
    clock = pool.options(deadline=3 * LIMIT_S).submit(tasks.echo, 0)
    assert isinstance(clock.exception(), owngil.TaskTimeout)
    gate.open()
    assert [future.result() for future in waiting] == list(range(20))
    wait(held)


def test_no_other_task_notices(pool: owngil.Pool, gate: Gate, tmp_path: Path) -> None:
    held = pool.submit(gate.enter)
    gate.wait_for_entered()
    late = pool.options(timeout=LIMIT_S).submit(stubborn.spin, tmp_path / "begun")
    others = [pool.submit(tasks.echo, number) for number in range(200)]
    items = pool.map(tasks.echo, range(1000))
    assert isinstance(late.exception(), owngil.TaskTimeout)
    assert [future.result() for future in others] == list(range(200))
    assert list(items) == list(range(1000))
    gate.open()
    assert held.result() > 0
    wait_until(lambda: pool.stats().restarts == 1)


def test_a_limit_holds_with_nobody_waiting(pool: owngil.Pool, tmp_path: Path) -> None:
    futures = [
        pool.options(timeout=LIMIT_S).submit(stubborn.spin, tmp_path / f"begun-{n}")
        for n in range(4)
    ]
    wait_until(lambda: pool.stats().pending == pool.stats().running == 0)
    assert all(isinstance(future.exception(), owngil.TaskTimeout) for future in futures)


def test_callbacks_asyncio_and_as_completed_learn_of_it(pool: owngil.Pool, tmp_path: Path) -> None:
    futures = [
        pool.options(timeout=LIMIT_S).submit(stubborn.sleep, tmp_path / f"begun-{n}")
        for n in range(2)
    ]
    kinds = [type(future.exception()) for future in as_completed(futures)]
    assert kinds == [owngil.TaskTimeout] * 2


@pytest.mark.parametrize("chunksize", [1, 3, 100, None])
@pytest.mark.parametrize("bad", [0, 7, 19])
def test_in_a_map_the_item_is_late_and_not_its_chunk(
    pool: owngil.Pool, tmp_path: Path, chunksize: int | None, bad: int
) -> None:
    results = pool.options(timeout=LIMIT_S).map(
        stubborn.spin_at, range(20), [tmp_path] * 20, [bad] * 20, chunksize=chunksize
    )
    found = tasks.outcomes(results)
    assert isinstance(found[bad], owngil.TaskTimeout)
    assert found[:bad] + found[bad + 1 :] == [n for n in range(20) if n != bad]
    if (tmp_path / "begun").exists():  # else the limit has passed while the worker imported this
        wait_until(lambda: pool.stats().restarts == 1)
    wait_until(lambda: all(worker.state == "idle" for worker in pool.stats().workers))
    assert pool.stats().restarts <= 1


def test_in_a_map_each_item_has_the_whole_limit(pool: owngil.Pool) -> None:
    pauses = [LIMIT_S] * 8
    assert (
        list(pool.options(timeout=5 * LIMIT_S).map(time.sleep, pauses, chunksize=8)) == [None] * 8
    )
    assert pool.stats().restarts == 0


def test_a_deadline_counts_the_time_in_the_queue(pool: owngil.Pool, gate: Gate) -> None:
    held = [pool.submit(gate.enter, number) for number in range(2)]
    gate.wait_for_entered(2)
    late = [pool.options(deadline=LIMIT_S).submit(tasks.echo, n) for n in range(10)]
    for future in late:
        error = future.exception()
        assert isinstance(error, owngil.TaskTimeout)
        assert error.of_deadline
        assert error.seconds is None
        assert error.pid is None
    gate.open()
    wait(held)
    assert pool.stats().restarts == 0


def test_a_deadline_ends_a_task_that_runs(pool: owngil.Pool, tmp_path: Path) -> None:
    future = pool.options(deadline=LIMIT_S).submit(stubborn.spin, tmp_path / "begun")
    error: Any = future.exception()
    assert isinstance(error, owngil.TaskTimeout)
    assert error.of_deadline
    assert error.seconds > 0


def test_a_deadline_of_a_map_ends_what_is_not_done(pool: owngil.Pool, tmp_path: Path) -> None:
    results = pool.options(deadline=3 * LIMIT_S).map(
        stubborn.spin_at, range(20), [tmp_path] * 20, [4] * 20, chunksize=5
    )
    found = tasks.outcomes(results)
    assert found[:4] == [0, 1, 2, 3]
    assert isinstance(found[4], owngil.TaskTimeout)
    assert all(item == n or isinstance(item, owngil.TaskTimeout) for n, item in enumerate(found))


def test_a_limit_that_is_not_reached_costs_nothing(pool: owngil.Pool) -> None:
    view = pool.options(timeout=60, deadline=60)
    assert [view.submit(tasks.echo, n).result() for n in range(500)] == list(range(500))
    assert list(view.map(tasks.echo, range(10_000))) == list(range(10_000))
    assert pool.stats().restarts == 0


def test_the_error_pickles(pool: owngil.Pool, tmp_path: Path) -> None:
    error = pool.options(timeout=LIMIT_S).submit(stubborn.spin, tmp_path / "begun").exception()
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is owngil.TaskTimeout
    assert copy.args == error.args
    assert copy.limit == LIMIT_S


# Whoever gets no CPU for 20 ms shows nothing, and on a busy machine that happens: once more, then.


@pytest.mark.parametrize(
    "task", [stubborn.spin, stubborn.sleep, stubborn.lock, stubborn.compute_with_the_gil]
)
def test_the_error_shows_where_the_task_was(
    pool: owngil.Pool, worker_kind: str, tmp_path: Path, task: Callable[[Path], object]
) -> None:
    stubborn.skip_what_is_refused(task, worker_kind)

    def late() -> owngil.TaskTimeout | None:
        error = pool.options(timeout=2 * LIMIT_S).submit(task, tmp_path / "begun").exception()
        assert isinstance(error, owngil.TaskTimeout)
        return error if f"in {task.__name__}" in error.stack else None

    error = wait_until(late)
    assert error.stack.startswith("Current thread")
    assert error.stack in str(error)
    assert error.task_name == f"stubborn.{task.__name__}"


def test_the_error_of_a_deadline_shows_where_the_task_was(
    pool: owngil.Pool, tmp_path: Path
) -> None:
    def late() -> bool:
        error = pool.options(deadline=LIMIT_S).submit(stubborn.spin, tmp_path / "begun").exception()
        assert isinstance(error, owngil.TaskTimeout)
        return "in spin" in error.stack

    wait_until(late)


def test_in_a_map_the_error_names_the_item_and_shows_where_it_was(
    pool: owngil.Pool, tmp_path: Path
) -> None:
    def late() -> bool:
        error = tasks.outcomes(
            pool.options(timeout=3 * LIMIT_S).map(
                stubborn.spin_at, range(10), [tmp_path] * 10, [4] * 10, chunksize=10
            )
        )[4]
        assert isinstance(error, owngil.TaskTimeout)
        assert error.item == 4
        assert "item 4 of a map of stubborn.spin_at" in str(error)
        return "in spin_at" in error.stack

    wait_until(late)


@pytest.mark.parametrize("task", [stubborn.ignore_signals, stubborn.stop_itself])
def test_nobody_waits_for_long_for_a_worker_that_cannot_show_where_it_is(
    pool: owngil.Pool, worker_kind: str, tmp_path: Path, task: Callable[[Path], object]
) -> None:
    stubborn.skip_what_is_refused(task, worker_kind)
    begun = tmp_path / "begun"

    def late() -> owngil.TaskTimeout | None:
        begun.unlink(missing_ok=True)
        error = pool.options(timeout=2 * LIMIT_S).submit(task, begun).exception()
        assert isinstance(error, owngil.TaskTimeout)
        return error if begun.exists() and not error.stack else None

    assert "Where it was" not in str(wait_until(late))


def test_a_task_is_not_stopped_by_being_asked_where_it_is(
    pool: owngil.Pool, tmp_path: Path
) -> None:
    begun, stopped = tmp_path / "begun", tmp_path / "stopped"
    late = pool.options(timeout=LIMIT_S).submit(stubborn.ask_itself, begun, stopped)
    assert isinstance(late.exception(), owngil.TaskTimeout)
    wait_until(lambda: pool.stats().restarts == 1)
    assert not stopped.exists()


def test_each_run_that_was_too_long_shows_where_it_was(pool: owngil.Pool, tmp_path: Path) -> None:
    view = pool.options(timeout=2 * LIMIT_S, retries=1, retry_on=(owngil.TaskTimeout,))

    def late() -> bool:
        error: Any = view.submit(stubborn.spin, tmp_path / "begun").exception()
        assert isinstance(error, owngil.TaskTimeout)
        return all("in spin" in one.stack for one in (error, *error.attempts))

    wait_until(late)

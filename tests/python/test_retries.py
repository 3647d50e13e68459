# SPDX-License-Identifier: BSD-3-Clause
"""options(retries=..., retry_on=..., backoff=...): another run, and an error that tells of all."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import counted
import pytest
import stubborn
import tasks

import owngil
from harness.conditions import wait_until
from harness.gate import Gate

pytestmark = pytest.mark.kinds("process", "apart")


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_a_task_whose_worker_died_runs_again(pool: owngil.Pool, record: Path) -> None:
    assert pool.options(retries=2).submit(counted.die_before, record, 3).result() > 0
    assert counted.runs(record) == 3


def test_a_task_is_not_run_again_unless_somebody_asked(pool: owngil.Pool, record: Path) -> None:
    assert isinstance(pool.submit(counted.die_before, record, 2).exception(), owngil.WorkerDied)
    assert counted.runs(record) == 1


def test_a_task_that_no_worker_survives_is_given_up(pool: owngil.Pool, record: Path) -> None:
    error: Any = pool.options(retries=2).submit(counted.die_before, record, 99).exception()
    assert type(error) is owngil.PoisonTask
    assert isinstance(error, owngil.WorkerDied)
    assert error.exitcode == 7
    assert [attempt.exitcode for attempt in error.attempts] == [7, 7]
    assert len({attempt.pid for attempt in (*error.attempts, error)}) == 3
    assert [note.split(":")[0] for note in error.__notes__] == [
        "run 1 ended with WorkerDied",
        "run 2 ended with WorkerDied",
    ]
    assert counted.runs(record) == 3
    assert pickle.loads(pickle.dumps(error)).args == error.args


def test_poison_cannot_take_the_pool_down(pool: owngil.Pool, tmp_path: Path) -> None:
    poison = [
        pool.options(retries=2).submit(counted.die_before, tmp_path / str(n), 99) for n in range(20)
    ]
    food = [pool.submit(tasks.echo, n) for n in range(100)]
    assert all(isinstance(future.exception(), owngil.PoisonTask) for future in poison)
    assert [future.result() for future in food] == list(range(100))
    assert pool.submit(tasks.echo, 1).result() == 1


def test_what_never_began_is_run_for_free(pool: owngil.Pool, record: Path, gate: Gate) -> None:
    held = [pool.submit(gate.enter, number) for number in range(2)]
    for pid, _ in gate.wait_for_entered(2):
        os.kill(pid, 9)
    behind = pool.submit(counted.raise_before, record, 1)
    assert behind.result() == 1
    assert all(isinstance(future.exception(), owngil.WorkerDied) for future in held)


@pytest.mark.parametrize("kind", [ValueError, counted.OwnError])
def test_a_task_runs_again_after_an_exception_that_is_named(
    pool: owngil.Pool, record: Path, kind: type[Exception]
) -> None:
    view = pool.options(retries=3, retry_on=kind)
    assert view.submit(counted.raise_before, record, 3, kind).result() == 3


def test_a_subclass_counts_as_the_exception_that_is_named(pool: owngil.Pool, record: Path) -> None:
    view = pool.options(retries=1, retry_on=(KeyError, ArithmeticError))
    assert view.submit(counted.raise_before, record, 2, ZeroDivisionError).result() == 2


def test_a_class_of_the_program_itself_can_be_named(pool: owngil.Pool, record: Path) -> None:
    class LocalError(Exception):
        pass

    def fail_once() -> int:
        if counted.count_run(record) < 2:
            raise LocalError("local")
        return counted.runs(record)

    assert pool.options(retries=1, retry_on=LocalError).submit(fail_once).result() == 2


def test_another_exception_ends_the_task(pool: owngil.Pool, record: Path) -> None:
    view = pool.options(retries=3, retry_on=KeyError)
    with pytest.raises(ValueError, match="run 1"):
        view.submit(counted.raise_before, record, 3).result()
    assert counted.runs(record) == 1


def test_a_death_is_retried_only_if_it_is_named(pool: owngil.Pool, record: Path) -> None:
    view = pool.options(retries=3, retry_on=ValueError)
    assert type(view.submit(counted.die_before, record, 3).exception()) is owngil.WorkerDied
    both = pool.options(retries=3, retry_on=(ValueError, owngil.WorkerDied))
    assert both.submit(counted.die_before, record, 4).result() > 0


def test_exception_covers_deaths_and_limits_too(
    pool: owngil.Pool, record: Path, tmp_path: Path
) -> None:
    view = pool.options(retries=1, retry_on=Exception)
    assert view.submit(counted.die_before, record, 2).result() > 0
    error: Any = view.options(timeout=0.05).submit(stubborn.spin, tmp_path / "begun").exception()
    assert type(error) is owngil.TaskTimeout
    assert [type(attempt) for attempt in error.attempts] == [owngil.TaskTimeout]


def test_the_last_error_lists_the_runs_before_it(pool: owngil.Pool, record: Path) -> None:
    error: Any = (
        pool.options(retries=2, retry_on=ValueError)
        .submit(counted.raise_before, record, 99)
        .exception()
    )
    assert str(error) == "run 3"
    assert [str(attempt) for attempt in error.attempts] == ["run 1", "run 2"]
    assert [note for note in error.__notes__ if note.startswith("run ")] == [
        "run 1 ended with ValueError: run 1",
        "run 2 ended with ValueError: run 2",
    ]


def test_a_backoff_delays_the_runs_and_nothing_else(pool: owngil.Pool, record: Path) -> None:
    begin = time.monotonic()
    view = pool.options(retries=3, retry_on=ValueError, backoff=0.05)
    delayed = view.submit(counted.raise_before, record, 4)
    assert pool.submit(tasks.echo, 1).result() == 1
    assert delayed.result() == 4
    assert time.monotonic() - begin >= 0.05 + 0.1 + 0.2


def test_a_task_that_waits_for_its_next_run_can_be_cancelled(
    pool: owngil.Pool, record: Path
) -> None:
    view = pool.options(retries=1, retry_on=ValueError, backoff=3600)
    future = view.submit(counted.raise_before, record, 99)
    wait_until(lambda: counted.runs(record) == 1 and not future.running())
    assert future.cancel()
    assert future.cancelled()


def test_shutdown_waits_for_the_runs_to_come(record: Path) -> None:
    with owngil.Pool(1) as pool:
        future = pool.options(retries=2, retry_on=ValueError, backoff=0.02).submit(
            counted.raise_before, record, 3
        )
    assert future.result() == 3


def test_cancel_futures_cancels_the_runs_to_come(record: Path) -> None:
    pool = owngil.Pool(1)
    future = pool.options(retries=1, retry_on=ValueError, backoff=3600).submit(
        counted.raise_before, record, 9
    )
    wait_until(lambda: counted.runs(record) == 1 and not future.running())
    pool.shutdown(cancel_futures=True)
    assert future.cancelled()


@pytest.mark.parametrize("chunksize", [1, 7, None])
def test_in_a_map_items_run_again_and_keep_their_places(
    pool: owngil.Pool, tmp_path: Path, chunksize: int | None
) -> None:
    view = pool.options(retries=1, retry_on=(ValueError, owngil.WorkerDied))
    results = view.map(counted.die_or_raise, range(40), [tmp_path] * 40, chunksize=chunksize)
    assert list(results) == list(range(40))
    assert {counted.runs(tmp_path / str(n)) for n in range(40) if n % 5 in (1, 3)} == {2}


def test_in_a_map_an_item_that_never_succeeds_tells_of_its_runs(
    pool: owngil.Pool, tmp_path: Path
) -> None:
    view = pool.options(retries=2, retry_on=ValueError)
    results = view.map(
        counted.raise_before,
        [tmp_path / str(n) for n in range(10)],
        [1, 99, 1, 1, 99] * 2,
        chunksize=4,
    )
    found = tasks.outcomes(results)
    for place in (1, 4, 6, 9):
        assert [str(attempt) for attempt in found[place].attempts] == ["run 1", "run 2"]
        assert str(found[place]) == "run 3"
    assert [found[place] for place in (0, 2, 3, 5, 7, 8)] == [1] * 6

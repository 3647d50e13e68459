# SPDX-License-Identifier: BSD-3-Clause
"""`WorkerDied` says what the worker was doing: which task, for how long, where in the code."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import tasks

import owngil


def death(pool: owngil.Pool, function: Callable[..., Any], *args: Any) -> owngil.WorkerDied:
    error = pool.submit(function, *args).exception()
    assert isinstance(error, owngil.WorkerDied), error
    return error


# --- what was running


def test_the_task_is_named_by_its_function(pool: owngil.Pool) -> None:
    error = death(pool, tasks.end_by_exit_code, 3)
    assert error.task_name == "tasks.end_by_exit_code"
    assert "tasks.end_by_exit_code" in str(error)


def test_a_partial_is_named_by_what_it_calls(pool: owngil.Pool) -> None:
    import functools

    error = death(pool, functools.partial(tasks.end_by_exit_code, 3))
    assert error.task_name == "functools.partial(tasks.end_by_exit_code)"


def test_each_task_has_a_number_of_its_own(pool: owngil.Pool) -> None:
    numbers = [death(pool, tasks.end_by_exit_code, 3).task_id for _ in range(3)]
    assert numbers == sorted(set(numbers))
    assert f"task {numbers[-1]}" in str(death(pool, os._exit, 1)) or numbers[-1] > 0


@pytest.mark.parametrize("chunksize", [1, 10, None])
def test_in_map_the_item_is_named_by_its_index(pool: owngil.Pool, chunksize: int | None) -> None:
    results = pool.map(tasks.die_at, range(10), [4] * 10, chunksize=chunksize)
    errors = [e for e in tasks.outcomes(results) if isinstance(e, owngil.WorkerDied)]
    assert [error.item for error in errors] == [4]
    assert "item 4 of a map of tasks.die_at" in str(errors[0])


def test_in_map_items_that_never_travelled_count_as_well(pool: owngil.Pool) -> None:
    items = [threading.Lock(), 1, threading.Lock(), 3, 4]  # locks cannot be pickled
    outcomes = tasks.outcomes(pool.map(tasks.die_at, items, [4] * 5))
    assert [getattr(outcome, "item", None) for outcome in outcomes] == [None, None, None, None, 4]


def test_a_call_is_no_item(pool: owngil.Pool) -> None:
    assert death(pool, tasks.end_by_exit_code, 3).item is None


def test_time_and_memory_of_the_worker_are_told(pool: owngil.Pool) -> None:
    error = death(pool, _fill_and_die, 30 << 20)
    assert error.peak_rss > 30 << 20
    assert 0 < error.seconds < 60
    assert f"{error.peak_rss / 2**20:.0f} MiB" in str(error)


def test_all_that_is_known_survives_pickling(pool: owngil.Pool) -> None:
    error = death(pool, tasks.end_by_exit_code, 3)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is owngil.WorkerDied
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


# --- tasks


def _fill_and_die(size: int) -> None:
    filled = b"x" * size
    os._exit(len(filled) % 7)

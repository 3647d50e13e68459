# SPDX-License-Identifier: BSD-3-Clause
"""Random programs: whatever is submitted, cancelled and asked for, each ends as its task says."""

from __future__ import annotations

import concurrent.futures
import queue
from collections.abc import Iterator
from typing import Any

import pytest
import tasks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import owngil

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    database=None,
)

TASKS: dict[str, tuple[Any, ...]] = {
    "value": (tasks.echo, 5),
    "large": (bytes, 300_000),
    "error": (tasks.fail, ValueError, "x"),
    "far error": (tasks.fail, tasks.HoldsALockError, "x"),
    "no pickle": (tasks.make_lock,),
    "work": (tasks.count_to, 3000),
}
DEADLY: dict[str, tuple[Any, ...]] = {"death": (tasks.end_by_exit_code, 3)}
EXPECTED: dict[str, Any] = {
    "value": 5,
    "large": bytes(300_000),
    "error": ValueError,
    "far error": owngil.RemoteError,
    "no pickle": owngil.RemoteError,
    "work": sum(range(3000)),
    "death": owngil.WorkerDied,
}

task = st.sampled_from(sorted(TASKS) * 4 + sorted(DEADLY))
step = st.tuples(task, st.sampled_from(["", "", "cancel", "ask", "poll", "watch", "resize"]))

POOLS: dict[str, dict[str, Any]] = {
    "workers that stay": {},
    "workers that come and go": {"idle_timeout": 0.002, "max_tasks_per_child": 7},
    "workers that leak": {"max_memory_per_child": 1, "idle_timeout": 0.05},
}


@pytest.fixture(scope="module", params=POOLS)
def shared_pool(request: pytest.FixtureRequest) -> Iterator[owngil.Pool]:
    with owngil.Pool(2, **POOLS[request.param]) as pool:
        yield pool


@SETTINGS
@given(steps=st.lists(step, max_size=60), order=st.randoms(use_true_random=False))
def test_each_future_ends_as_its_task_says(
    shared_pool: owngil.Pool, steps: list[tuple[str, str]], order: Any
) -> None:
    futures: list[tuple[str, Any]] = []
    called: queue.SimpleQueue[Any] = queue.SimpleQueue()
    watched = 0
    for name, deed in steps:
        function, *args = (TASKS | DEADLY)[name]
        futures.append((name, shared_pool.submit(function, *args)))
        _, other = order.choice(futures)
        if deed == "cancel":
            other.cancel()
        elif deed == "ask":
            concurrent.futures.wait([other])
        elif deed == "poll":
            other.done()
        elif deed == "watch":
            watched += 1
            other.add_done_callback(called.put)
        elif deed == "resize":
            shared_pool.resize(order.randint(1, 4))
    order.shuffle(futures)
    for name, future in futures:
        if future.cancelled():
            continue
        expected = EXPECTED[name]
        if isinstance(expected, type):
            assert isinstance(future.exception(), expected)
        else:
            assert future.result() == expected
    done, not_done = concurrent.futures.wait([future for _, future in futures])
    assert not not_done
    assert len(done) == len(futures)
    for _ in range(watched):
        called.get(timeout=30)
    assert called.empty()


@SETTINGS
@given(
    names=st.lists(task, max_size=60),
    chunksize=st.none() | st.integers(1, 20),
    buffersize=st.none() | st.integers(1, 20),
)
def test_each_item_of_a_map_ends_as_its_task_says(
    shared_pool: owngil.Pool, names: list[str], chunksize: int | None, buffersize: int | None
) -> None:
    calls = [(TASKS | DEADLY)[name] for name in names]
    results = shared_pool.map(tasks.call, calls, chunksize=chunksize, buffersize=buffersize)
    outcomes = tasks.outcomes(results)
    assert len(outcomes) == len(names)
    for name, outcome in zip(names, outcomes, strict=True):
        expected = EXPECTED[name]
        if isinstance(expected, type):
            assert isinstance(outcome, expected)
        else:
            assert outcome == expected

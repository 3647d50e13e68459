# SPDX-License-Identifier: BSD-3-Clause
"""`Pool.options`: what it takes, how views compose, what they give back."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest
import tasks

import owngil


def test_a_view_submits_and_maps_as_the_pool_does(pool: owngil.Pool) -> None:
    view = pool.options()
    assert view.submit(tasks.capture, 1, key=2).result() == ((1,), {"key": 2})
    assert list(view.map(tasks.add, range(5), range(5))) == [0, 2, 4, 6, 8]
    assert isinstance(view.submit(tasks.echo, 1), owngil.Future)


def test_views_compose_and_the_newer_term_holds(pool: owngil.Pool) -> None:
    view = pool.options(timeout=2.0, retries=3).options(timeout=5).options(backoff=0.5)
    assert repr(view) == f"<owngil.PoolOptions of {pool!r}: timeout=5.0, retries=3, backoff=0.5>"


@pytest.mark.parametrize("name", ["timeout", "deadline", "backoff", "grace"])
@pytest.mark.parametrize("value", [-1, math.nan])
def test_times_that_make_no_sense_are_refused(pool: owngil.Pool, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        pool.options(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["timeout", "deadline", "backoff", "grace", "retries"])
@pytest.mark.parametrize("value", ["1", True, [1]])
def test_what_is_no_number_is_refused(pool: owngil.Pool, name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        pool.options(**{name: value})


@pytest.mark.parametrize("name", ["timeout", "deadline"])
def test_no_time_at_all_is_refused(pool: owngil.Pool, name: str) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        pool.options(**{name: 0})  # type: ignore[arg-type]


def test_an_endless_limit_is_none(pool: owngil.Pool) -> None:
    assert pool.options(timeout=math.inf, deadline=1e300).submit(tasks.echo, 1).result() == 1


def test_negative_retries_are_refused(pool: owngil.Pool) -> None:
    with pytest.raises(ValueError, match="retries"):
        pool.options(retries=-1)


@pytest.mark.parametrize("kinds", [5, "ValueError", (ValueError, 5), [ValueError], int])
def test_retry_on_takes_exception_types(pool: owngil.Pool, kinds: Any) -> None:
    with pytest.raises(TypeError, match="retry_on"):
        pool.options(retries=1, retry_on=kinds)


def test_an_unknown_term_is_refused_by_name(pool: owngil.Pool) -> None:
    with pytest.raises(TypeError, match="retry"):
        pool.options(retry=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="it has timeout, deadline"):
        pool.options().options(retry=1)


def test_a_view_refuses_what_the_pool_refuses(pool: owngil.Pool) -> None:
    with pytest.raises(TypeError, match="callable"):
        pool.options().submit(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callable"):
        pool.options().map(5, [])  # type: ignore[arg-type]


def test_a_view_of_a_closed_pool_says_so() -> None:
    pool = owngil.Pool(1)
    view = pool.options(timeout=1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        view.submit(tasks.echo, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        view.map(tasks.echo, [1])


def test_a_view_keeps_its_pool_and_lets_go_of_it() -> None:
    view = owngil.Pool(1).options(retries=1, retry_on=ValueError)
    gc.collect()
    future = view.submit(tasks.echo, 1)
    assert future.result() == 1
    del view
    gc.collect()


def test_views_that_are_let_go_leave_tasks_their_terms(pool: owngil.Pool) -> None:
    futures = []
    for number in range(50):
        view = pool.options(retries=1, retry_on=(ValueError, KeyError))
        futures.append(view.submit(tasks.fail, ValueError, number))
        del view
    errors: list[Any] = [future.exception() for future in futures]
    assert [len(error.attempts) for error in errors] == [1] * 50


def test_threads_have_no_terms() -> None:
    with owngil.Pool(1, kind="thread") as pool, pytest.raises(NotImplementedError, match="process"):
        pool.options(timeout=1)

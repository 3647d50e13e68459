# SPDX-License-Identifier: BSD-3-Clause
"""Submitting one call at a time."""

from __future__ import annotations

import functools
import operator
import os

import pytest
import tasks

import owngil


def test_the_result_comes_back(pool: owngil.Pool) -> None:
    assert pool.submit(tasks.add, 40, 2).result() == 42


def test_keyword_arguments_are_passed(pool: owngil.Pool) -> None:
    assert pool.submit(tasks.add, 40, b=2).result() == 42


def test_the_names_of_submits_own_parameters_are_free_for_the_function(pool: owngil.Pool) -> None:
    future = pool.submit(tasks.capture, 1, self=2, fn=3, args=4, kwargs=5)
    assert future.result() == ((1,), {"self": 2, "fn": 3, "args": 4, "kwargs": 5})


def test_the_function_runs_in_another_process(pool: owngil.Pool) -> None:
    assert pool.submit(os.getpid).result() != os.getpid()


@pytest.mark.parametrize("thing", [None, 3, "print", [len]])
def test_what_cannot_be_called_is_refused_at_once(pool: owngil.Pool, thing: object) -> None:
    with pytest.raises(TypeError, match="callable"):
        pool.submit(thing)  # type: ignore[arg-type]


def test_submit_without_a_function_is_refused(pool: owngil.Pool) -> None:
    with pytest.raises(TypeError):
        pool.submit()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        pool.submit(fn=len)  # type: ignore[call-arg]


def test_many_tasks_keep_their_results_apart(pool: owngil.Pool) -> None:
    futures = [pool.submit(tasks.add, number, 1) for number in range(5000)]
    assert [future.result() for future in futures] == list(range(1, 5001))


def test_results_may_be_asked_for_in_any_order(pool: owngil.Pool) -> None:
    futures = [pool.submit(tasks.echo, number) for number in range(1000)]
    assert [future.result() for future in reversed(futures)] == list(range(999, -1, -1))


def test_futures_may_be_dropped_unasked(pool: owngil.Pool) -> None:
    for number in range(2000):
        pool.submit(tasks.echo, number)
    assert pool.submit(tasks.echo, "last").result() == "last"


@pytest.mark.parametrize("size", [0, 1, 79, 80, 81, 4096, 1 << 20, 5_000_011])
def test_payloads_of_every_size_travel_both_ways(pool: owngil.Pool, size: int) -> None:
    data = os.urandom(size)
    assert pool.submit(tasks.echo, data).result() == data


def test_many_large_payloads_share_the_memory_that_there_is(pool: owngil.Pool) -> None:
    block = os.urandom(1 << 20)
    for _ in range(5):
        futures = [pool.submit(tasks.echo, block) for _ in range(20)]
        assert all(future.result() == block for future in futures)


def test_an_argument_is_the_tasks_own(pool: owngil.Pool) -> None:
    numbers = [1, 2, 3]
    assert pool.submit(list.append, numbers, 4).result() is None
    assert numbers == [1, 2, 3]


def test_an_argument_is_taken_as_it_is_at_submit(pool: owngil.Pool) -> None:
    numbers = [1, 2, 3]
    future = pool.submit(tasks.echo, numbers)
    numbers.append(4)
    assert future.result() == [1, 2, 3]


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (len, ([1, 2],), 2),
        (str.upper, ("a",), "A"),
        ("a-b".split, ("-",), ["a", "b"]),
        (operator.itemgetter(1), ("xyz",), "y"),
        (functools.partial(tasks.add, 40), (2,), 42),
        (functools.partial(tasks.add, b=2), (40,), 42),
        (dict, ([(1, 2)],), {1: 2}),
        (functools.partial(functools.reduce, operator.add), ([1, 2, 3],), 6),
    ],
    ids=["builtin", "slot", "bound builtin", "object", "partial", "partial kw", "type", "nested"],
)
def test_whatever_can_be_called_can_be_submitted(
    pool: owngil.Pool, function: object, args: tuple[object, ...], expected: object
) -> None:
    assert pool.submit(function, *args).result() == expected  # type: ignore[arg-type]

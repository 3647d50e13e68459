# SPDX-License-Identifier: BSD-3-Clause
"""A pool's futures behave as the standard library's, helpers included."""

from __future__ import annotations

import concurrent.futures
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError

import pytest
import tasks

import owngil
from harness.conditions import wait_until
from harness.gate import Gate


def test_a_future_is_one_of_concurrent_futures(pool: owngil.Pool) -> None:
    assert isinstance(pool.submit(tasks.echo, 1), concurrent.futures.Future)


def test_polling_with_done_makes_progress(pool: owngil.Pool) -> None:
    future = pool.submit(tasks.echo, 1)
    wait_until(future.done)
    assert future.result(timeout=0) == 1


def test_polling_one_future_lets_all_others_flow(pool: owngil.Pool) -> None:
    futures = [pool.submit(tasks.echo, number) for number in range(3000)]
    wait_until(futures[-1].done)
    wait_until(lambda: all(future.done() for future in futures))


def test_polling_with_a_zero_timeout_makes_progress(pool: owngil.Pool) -> None:
    future = pool.submit(tasks.echo, 7)

    def ask() -> bool:
        try:
            return future.result(timeout=0) == 7
        except TimeoutError:
            return False

    wait_until(ask)


def test_running_is_true_while_the_task_runs(pool: owngil.Pool, gate: Gate) -> None:
    future = pool.submit(gate.enter)
    gate.wait_for_entered()
    wait_until(future.running)
    assert not future.done()
    gate.open()
    future.result()
    assert not future.running()
    assert future.done()


def test_a_result_that_is_late_raises_timeout_error_and_comes_later(
    pool: owngil.Pool, gate: Gate
) -> None:
    future = pool.submit(gate.enter)
    with pytest.raises(TimeoutError):
        future.result(timeout=0.05)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.exception(timeout=0)
    gate.open()
    assert future.result() > 0


def test_a_result_may_be_asked_for_again(pool: owngil.Pool) -> None:
    future = pool.submit(tasks.echo, [1, 2])
    assert future.result() == [1, 2]
    assert future.result() is future.result()


def test_exception_gives_what_the_task_raised(pool: owngil.Pool) -> None:
    future = pool.submit(tasks.fail, KeyError, "k")
    error = future.exception()
    assert type(error) is KeyError
    assert error.args == ("k",)
    with pytest.raises(KeyError) as caught:
        future.result()
    assert caught.value is error


def test_exception_is_none_when_the_task_returned(pool: owngil.Pool) -> None:
    assert pool.submit(tasks.echo, 1).exception() is None


def test_a_waiting_task_can_be_cancelled_and_never_runs(pool: owngil.Pool, gate: Gate) -> None:
    held = [pool.submit(gate.enter) for _ in range(2)]
    gate.wait_for_entered(2)
    waiting = [pool.submit(gate.enter, "late") for _ in range(20)]
    assert all(future.cancel() for future in waiting)
    assert all(future.cancelled() and future.done() for future in waiting)
    with pytest.raises(CancelledError):
        waiting[0].result()
    with pytest.raises(CancelledError):
        waiting[0].exception()
    gate.open()
    for future in held:
        future.result()
    pool.shutdown()
    assert {label for _, label in gate.entered()} == {""}


def test_a_running_task_cannot_be_cancelled(pool: owngil.Pool, gate: Gate) -> None:
    future = pool.submit(gate.enter)
    gate.wait_for_entered()
    assert not future.cancel()
    assert not future.cancelled()
    gate.open()
    assert future.result() > 0


def test_a_finished_task_cannot_be_cancelled(pool: owngil.Pool) -> None:
    future = pool.submit(tasks.echo, 1)
    future.result()
    assert not future.cancel()
    assert future.result() == 1


def test_cancelling_twice_says_yes_twice(pool: owngil.Pool, gate: Gate) -> None:
    for _ in range(2):
        pool.submit(gate.enter)
    gate.wait_for_entered(2)
    future = pool.submit(tasks.echo, 1)
    assert future.cancel()
    assert future.cancel()
    gate.open()


def test_cancelling_half_of_a_backlog_leaves_the_other_half(pool: owngil.Pool, gate: Gate) -> None:
    for _ in range(2):
        pool.submit(gate.enter)
    gate.wait_for_entered(2)
    futures = [pool.submit(tasks.echo, number) for number in range(400)]
    assert all(future.cancel() for future in futures[::2])
    gate.open()
    assert [future.result() for future in futures[1::2]] == list(range(1, 400, 2))


def test_wait_returns_when_all_are_done(pool: owngil.Pool) -> None:
    futures = [pool.submit(tasks.echo, number) for number in range(50)]
    done, not_done = concurrent.futures.wait(futures, return_when=ALL_COMPLETED)
    assert done == set(futures)
    assert not not_done


def test_wait_returns_when_the_first_is_done(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(gate.enter)
    gate.wait_for_entered()
    quick = pool.submit(tasks.echo, 1)
    done, not_done = concurrent.futures.wait([held, quick], return_when=FIRST_COMPLETED)
    assert done == {quick}
    assert not_done == {held}
    gate.open()


def test_wait_returns_when_the_first_fails(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(gate.enter)
    gate.wait_for_entered()
    bad = pool.submit(tasks.fail, ValueError)
    done, not_done = concurrent.futures.wait([held, bad], return_when=FIRST_EXCEPTION)
    assert done == {bad}
    assert not_done == {held}
    gate.open()


def test_wait_with_a_timeout_tells_what_is_not_done(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(gate.enter)
    done, not_done = concurrent.futures.wait([held], timeout=0.05)
    assert not done
    assert not_done == {held}
    gate.open()


def test_wait_notices_a_cancelled_future(pool: owngil.Pool, gate: Gate) -> None:
    for _ in range(2):
        pool.submit(gate.enter)
    gate.wait_for_entered(2)
    futures = [pool.submit(tasks.echo, number) for number in range(4)]
    for future in futures:
        future.cancel()
    gate.open()
    done, not_done = concurrent.futures.wait(futures)
    assert done == set(futures)
    assert not not_done


def test_as_completed_yields_each_future_once_as_it_ends(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(gate.enter)
    gate.wait_for_entered()
    quick = [pool.submit(tasks.echo, number) for number in range(20)]
    order = concurrent.futures.as_completed([held, *quick])
    first = [next(order) for _ in range(20)]
    assert set(first) == set(quick)
    gate.open()
    assert list(order) == [held]


def test_as_completed_with_a_timeout_counts_the_unfinished(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(gate.enter)
    with pytest.raises(TimeoutError, match=r"1 \(of 1\) futures unfinished"):
        list(concurrent.futures.as_completed([held], timeout=0.05))
    gate.open()


def test_the_helpers_take_futures_of_several_pools(pool: owngil.Pool) -> None:
    with owngil.Pool(1) as other, concurrent.futures.ThreadPoolExecutor(1) as threads:
        futures = [executor.submit(tasks.echo, 1) for executor in (pool, other, threads)]
        assert {future.result() for future in concurrent.futures.as_completed(futures)} == {1}
        done, _ = concurrent.futures.wait(futures)
        assert len(done) == 3


def test_a_future_outlives_its_pool() -> None:
    with owngil.Pool(1) as pool:
        futures = [pool.submit(tasks.echo, number) for number in range(20)]
        failed = pool.submit(tasks.fail, ValueError, "late")
    del pool
    assert [future.result(timeout=0) for future in futures] == list(range(20))
    assert isinstance(failed.exception(timeout=0), ValueError)


def test_a_finished_future_cannot_be_given_another_result(pool: owngil.Pool) -> None:
    future = pool.submit(tasks.echo, 1)
    future.result()
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(2)
    assert future.result() == 1


def test_a_future_has_a_telling_repr(pool: owngil.Pool) -> None:
    future = pool.submit(tasks.echo, 1)
    future.result()
    assert "finished" in repr(future)
    assert "int" in repr(future)

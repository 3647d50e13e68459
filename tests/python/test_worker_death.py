# SPDX-License-Identifier: BSD-3-Clause
"""A worker that dies fails only the task (in map: the item) that it had begun; the pool goes on."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool

import pytest
import tasks

import owngil
from harness.conditions import wait_until
from harness.gate import Gate

pytestmark = pytest.mark.kinds("process", "apart")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_signal_fails_the_running_task_and_is_named(
    pool: owngil.Pool, number: signal.Signals
) -> None:
    with pytest.raises(owngil.WorkerDied, match=number.name) as caught:
        pool.submit(tasks.end_by_signal, number).result()
    assert caught.value.signal == number
    assert caught.value.exitcode is None
    assert pool.submit(tasks.echo, 1).result() == 1


@pytest.mark.parametrize("code", [0, 7])
def test_an_exit_fails_the_running_task_and_its_code_is_named(pool: owngil.Pool, code: int) -> None:
    with pytest.raises(BrokenProcessPool, match=str(code)) as caught:
        pool.submit(tasks.end_by_exit_code, code).result()
    assert isinstance(caught.value, owngil.WorkerDied)
    assert caught.value.exitcode == code
    assert caught.value.signal is None
    assert pool.submit(tasks.echo, 1).result() == 1


def test_only_the_guilty_task_fails_among_many(pool: owngil.Pool) -> None:
    futures = [pool.submit(tasks.die_at, number, 57) for number in range(300)]
    outcomes = [future.exception() or future.result() for future in futures]
    assert isinstance(outcomes[57], owngil.WorkerDied)
    del outcomes[57]
    assert outcomes == [number for number in range(300) if number != 57]


def test_each_of_several_guilty_tasks_fails_alone(pool: owngil.Pool) -> None:
    guilty = {3, 50, 51, 99}
    futures = [
        pool.submit(tasks.end_by_exit_code, 5) if n in guilty else pool.submit(tasks.echo, n)
        for n in range(100)
    ]
    failed = {n for n, future in enumerate(futures) if future.exception() is not None}
    assert failed == guilty


def test_a_task_on_another_worker_is_not_touched(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(gate.enter)
    ((pid, _),) = gate.wait_for_entered()
    with pytest.raises(owngil.WorkerDied):
        pool.submit(tasks.end_by_signal).result()
    assert pool.submit(tasks.echo, 1).result() == 1
    gate.open()
    assert held.result() == pid


def test_a_worker_killed_from_outside_while_it_runs_fails_its_task(
    pool: owngil.Pool, gate: Gate
) -> None:
    held = [pool.submit(gate.enter, number) for number in range(2)]
    (victim, label), _ = gate.wait_for_entered(2)
    os.kill(victim, signal.SIGKILL)
    error = held[int(label)].exception()
    assert isinstance(error, owngil.WorkerDied)
    assert error.pid == victim
    gate.open()
    assert held[1 - int(label)].result() > 0


def test_an_idle_worker_that_is_killed_fails_nothing_and_is_replaced(pool: owngil.Pool) -> None:
    list(pool.map(tasks.echo, range(10)))
    for worker in pool.stats().workers:
        if worker.pid:
            os.kill(worker.pid, signal.SIGKILL)
    assert [pool.submit(tasks.echo, n).result() for n in range(20)] == list(range(20))


def test_tasks_queued_behind_a_dying_one_run_elsewhere_once(
    pool: owngil.Pool, gate: Gate, tmp_path: object
) -> None:
    held = [pool.submit(gate.enter, f"held{n}") for n in range(2)]
    victims = [pid for pid, _ in gate.wait_for_entered(2)]
    queued = [pool.submit(gate.enter, f"queued{n}") for n in range(50)]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert all(isinstance(future.exception(), owngil.WorkerDied) for future in held)
    gate.open()
    for future in queued:
        future.result()
    labels = [label for _, label in gate.entered() if label.startswith("queued")]
    assert sorted(labels) == sorted(f"queued{n}" for n in range(50))


@pytest.mark.parametrize("chunksize", [1, 10, None])
def test_in_map_the_items_before_the_guilty_one_keep_their_results(
    pool: owngil.Pool, chunksize: int | None
) -> None:
    results = pool.map(tasks.die_at, range(10), itertools.repeat(4), chunksize=chunksize)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(owngil.WorkerDied):
        next(results)
    assert list(results) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("chunksize", [10, None])
def test_in_map_each_of_several_guilty_items_fails_alone(
    pool: owngil.Pool, chunksize: int | None
) -> None:
    results = pool.map(_die_if_divisible, range(40), [9] * 40, chunksize=chunksize)
    outcomes = tasks.outcomes(results)
    failed = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, owngil.WorkerDied)]
    assert failed == [0, 9, 18, 27, 36]
    assert all(outcome == n for n, outcome in enumerate(outcomes) if n not in failed)


def test_in_map_the_items_after_the_guilty_one_in_its_chunk_run_elsewhere(
    pool: owngil.Pool, gate: Gate
) -> None:
    gate.open()
    results = pool.map(_enter_or_die, [gate] * 10, range(10), [4] * 10, chunksize=10)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    wait_until(lambda: len(gate.entered()) == 9)
    assert sorted(int(label) for _, label in gate.entered()) == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_an_exit_through_sys_exit_is_an_exception_and_no_death(pool: owngil.Pool) -> None:
    before = pool.submit(os.getpid).result()
    error = pool.submit(tasks.fail, SystemExit, 3).exception()
    assert isinstance(error, SystemExit)
    assert pool.submit(os.getpid).result() == before


def test_a_worker_may_die_while_it_unpickles_its_arguments(pool: owngil.Pool) -> None:
    with pytest.raises(owngil.WorkerDied):
        pool.submit(tasks.echo, _ExitsWhenUnpickled()).result()
    assert pool.submit(tasks.echo, 1).result() == 1


def test_a_worker_may_die_while_it_pickles_its_result(pool: owngil.Pool) -> None:
    with pytest.raises(owngil.WorkerDied):
        pool.submit(_make_one_that_exits_when_pickled).result()
    assert pool.submit(tasks.echo, 1).result() == 1


def test_a_segmentation_fault_is_a_death_like_any_other(pool: owngil.Pool) -> None:
    with pytest.raises(owngil.WorkerDied, match="SIGSEGV"):
        pool.submit(_read_address_zero).result()
    assert pool.submit(tasks.echo, 1).result() == 1


def test_a_worker_that_dies_over_and_over_does_not_stop_the_others(pool: owngil.Pool) -> None:
    """Each death is caused by its task, not by the pool: there is no limit to them."""
    for _ in range(12):
        with pytest.raises(owngil.WorkerDied):
            pool.submit(tasks.end_by_exit_code, 1).result()
    assert pool.submit(tasks.echo, 1).result() == 1


@pytest.mark.kinds("process")  # it forks
def test_what_a_task_started_does_not_keep_a_dead_worker_alive(
    pool: owngil.Pool, gate: Gate
) -> None:
    """A grandchild inherits everything but the worker's life."""
    future = pool.submit(_fork_and_die, gate)
    assert isinstance(future.exception(), owngil.WorkerDied)
    assert pool.submit(tasks.echo, 1).result() == 1
    gate.open()


class _ExitsWhenUnpickled:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[int]]:
        return os._exit, (4,)


class _ExitsWhenPickled:
    def __reduce__(self) -> str:
        os._exit(4)


def _make_one_that_exits_when_pickled() -> _ExitsWhenPickled:
    return _ExitsWhenPickled()


def _die_if_divisible(number: int, by: int) -> int:
    if number % by == 0:
        tasks.end_by_signal()
    return number


def _enter_or_die(gate: Gate, number: int, bad: int) -> int:
    if number == bad:
        tasks.end_by_signal()
    gate.enter(number)
    return number


def _read_address_zero() -> None:
    import ctypes

    ctypes.string_at(0)


def _fork_and_die(gate: Gate) -> None:
    if os.fork() == 0:
        gate.enter("grandchild")
        os._exit(0)
    os._exit(1)

# SPDX-License-Identifier: BSD-3-Clause
"""shutdown(timeout=...), terminate_workers and kill_workers: a pool that does not wait for ever."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tasks

import owngil
from harness import processes
from harness.conditions import wait_until
from harness.gate import Gate
from harness.starts import pids_of

pytestmark = pytest.mark.kinds("process", "apart")

FORCES = pytest.mark.parametrize("force", ["terminate_workers", "kill_workers"])
SIGNALS = {"terminate_workers": signal.SIGTERM, "kill_workers": signal.SIGKILL}
FOR_EVER = 1000.0


@pytest.fixture
def pool() -> Iterator[owngil.Pool]:
    """A pool of two workers that is not waited for."""
    pool = owngil.Pool(2)
    yield pool
    pool.kill_workers()
    pool.shutdown()


def have_ended(pids: list[int]) -> bool:
    return not any(map(processes.read, pids))


# --- shutdown(timeout=...)


def test_with_time_enough_it_is_an_ordinary_shutdown(pool: owngil.Pool) -> None:
    futures = [pool.submit(tasks.add, number) for number in range(100)]
    pool.shutdown(timeout=FOR_EVER)
    assert [future.result(timeout=0) for future in futures] == list(range(1, 101))


def test_when_the_time_is_up_what_runs_dies_and_what_waits_is_cancelled(
    pool: owngil.Pool, gate: Gate
) -> None:
    held = [pool.submit(gate.enter) for _ in range(2)]
    pids = [pid for pid, _ in gate.wait_for_entered(2)]
    waiting = [pool.submit(tasks.echo, number) for number in range(50)]
    pool.shutdown(timeout=0.01)
    assert all(isinstance(future.exception(0), owngil.WorkerDied) for future in held)
    assert all(future.cancelled() for future in waiting)
    assert have_ended(pids)


def test_when_the_time_is_up_callbacks_have_been_called(pool: owngil.Pool, gate: Gate) -> None:
    called: list[str] = []
    future = pool.submit(gate.enter)
    future.add_done_callback(lambda done: called.append(type(done.exception()).__name__))
    gate.wait_for_entered()
    pool.shutdown(timeout=0)
    assert called == ["WorkerDied"]


def test_a_callback_that_never_returns_does_not_hold_it_up(pool: owngil.Pool, gate: Gate) -> None:
    forever = threading.Event()
    future = pool.submit(gate.enter)
    future.add_done_callback(lambda _: forever.wait())
    gate.wait_for_entered()
    pool.shutdown(timeout=0)
    assert isinstance(future.exception(0), owngil.WorkerDied)
    forever.set()
    pool.shutdown()


def test_a_stopped_worker_does_not_hold_it_up(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(gate.enter)
    ((pid, _),) = gate.wait_for_entered()
    os.kill(pid, signal.SIGSTOP)
    gate.open()
    assert pool.submit(tasks.echo, 1).result() == 1  # its neighbour does not notice
    pool.shutdown(timeout=0.01)
    error = held.exception(0)
    assert isinstance(error, owngil.WorkerDied)
    assert error.signal == signal.SIGKILL
    assert have_ended([pid])


def test_a_thread_that_a_task_left_running_does_not_hold_it_up(pool: owngil.Pool) -> None:
    pid = pool.submit(_leave_endless_thread).result()
    pool.shutdown(timeout=0.01)
    assert have_ended([pid])


def test_cancelling_and_a_timeout_go_together(pool: owngil.Pool, gate: Gate) -> None:
    held = [pool.submit(gate.enter) for _ in range(2)]
    gate.wait_for_entered(2)
    waiting = pool.submit(tasks.echo, 1)
    pool.shutdown(cancel_futures=True, timeout=0)
    assert waiting.cancelled()
    assert all(isinstance(future.exception(0), owngil.WorkerDied) for future in held)


def test_a_timeout_without_waiting_and_one_that_is_no_time_are_refused(pool: owngil.Pool) -> None:
    with pytest.raises(ValueError, match="a timeout is for waiting"):
        pool.shutdown(wait=False, timeout=1)
    with pytest.raises(ValueError, match="NaN"):
        pool.shutdown(timeout=float("nan"))


def test_an_interrupted_shutdown_kills_nothing(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(gate.enter)
    gate.wait_for_entered()
    main = threading.get_ident()

    def interrupt() -> None:
        wait_until(lambda: _is_closed(pool), "shutdown has begun")
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        pool.shutdown(timeout=FOR_EVER)
    gate.open()
    assert held.result() > 0


# --- terminate_workers, kill_workers


@FORCES
def test_what_runs_dies_of_the_signal_and_what_waits_is_cancelled(
    pool: owngil.Pool, gate: Gate, force: str
) -> None:
    held = [pool.submit(gate.enter) for _ in range(2)]
    pids = [pid for pid, _ in gate.wait_for_entered(2)]
    waiting = [pool.submit(tasks.echo, number) for number in range(50)]
    getattr(pool, force)()
    assert all(future.cancelled() for future in waiting)
    errors = [future.exception() for future in held]
    assert all(isinstance(error, owngil.WorkerDied) for error in errors)
    assert {error.signal for error in errors if isinstance(error, owngil.WorkerDied)} == {
        SIGNALS[force]
    }
    wait_until(lambda: have_ended(pids))


@FORCES
def test_it_returns_at_once_and_refuses_what_comes_later(
    pool: owngil.Pool, gate: Gate, force: str
) -> None:
    pool.submit(gate.enter)
    gate.wait_for_entered()
    getattr(pool, force)()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(tasks.echo, 1)
    pool.shutdown()


@FORCES
def test_idle_workers_end_and_none_is_replaced(pool: owngil.Pool, force: str) -> None:
    list(pool.map(tasks.echo, range(10), chunksize=1))
    pids = pids_of(pool)
    getattr(pool, force)()
    wait_until(lambda: have_ended(pids))
    pool.shutdown()
    assert pool.stats().restarts == 0


@FORCES
def test_what_was_cancelled_while_workers_were_starting_never_runs(
    tmp_path: Path, force: str
) -> None:
    pool = owngil.Pool(4, initializer=_note, initargs=(tmp_path,))
    futures = [pool.submit(tasks.touch, tmp_path / f"task {number}") for number in range(8)]
    getattr(pool, force)()
    pool.shutdown()
    assert all(future.done() for future in futures)
    ran = {path.name for path in tmp_path.glob("task *")}
    cancelled = {f"task {number}" for number, future in enumerate(futures) if future.cancelled()}
    assert not ran & cancelled


@FORCES
def test_the_items_of_a_map_that_had_no_worker_are_cancelled(
    pool: owngil.Pool, gate: Gate, force: str
) -> None:
    results = pool.map(gate.enter, range(100), chunksize=10)
    gate.wait_for_entered(2)
    getattr(pool, force)()
    kinds = {type(outcome) for outcome in _all_outcomes(results)}
    assert kinds == {owngil.WorkerDied, concurrent.futures.CancelledError}


@FORCES
def test_a_pool_whose_worker_has_died_lets_itself_be_ended(force: str) -> None:
    pool = owngil.Pool(1)
    with pytest.raises(owngil.WorkerDied):
        pool.submit(tasks.end_by_exit_code, 1).result()
    getattr(pool, force)()
    pool.shutdown()
    getattr(pool, force)()


@FORCES
def test_what_dies_by_it_is_not_run_again(pool: owngil.Pool, gate: Gate, force: str) -> None:
    held = pool.options(retries=5).submit(gate.enter)
    gate.wait_for_entered()
    getattr(pool, force)()
    assert isinstance(held.exception(), owngil.WorkerDied)
    pool.shutdown()
    assert len(gate.entered()) == 1


@FORCES
def test_what_rests_until_it_runs_again_is_cancelled(pool: owngil.Pool, force: str) -> None:
    resting = pool.options(retries=5, backoff=FOR_EVER).submit(tasks.end_by_exit_code, 1)
    wait_until(lambda: pool.stats().restarts > 0, "it has run for the first time")
    getattr(pool, force)()
    pool.shutdown()
    assert resting.cancelled()


@FORCES
def test_a_pool_that_was_never_used_lets_itself_be_ended(force: str) -> None:
    pool = owngil.Pool(2)
    getattr(pool, force)()
    pool.shutdown()


def test_a_task_that_handles_sigterm_is_given_its_result(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(_finish_when_told, gate)
    ((pid, _),) = gate.wait_for_entered()
    pool.terminate_workers()
    gate.open()
    assert held.result() == "in order"
    wait_until(lambda: have_ended([pid]))
    pool.shutdown()


def test_a_stopped_worker_is_killed_all_the_same(pool: owngil.Pool, gate: Gate) -> None:
    held = pool.submit(gate.enter)
    ((pid, _),) = gate.wait_for_entered()
    os.kill(pid, signal.SIGSTOP)
    pool.kill_workers()
    assert isinstance(held.exception(), owngil.WorkerDied)


def test_only_these_two_operations_exist(pool: owngil.Pool) -> None:
    with pytest.raises(ValueError, match="Unsupported operation: 'poke'"):
        pool._force_shutdown(operation="poke")


@FORCES
def test_a_subclass_hears_of_it_as_of_any_shutdown(force: str) -> None:
    heard: list[tuple[bool, bool]] = []

    class Mine(owngil.Pool):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # type: ignore[override]
            heard.append((wait, cancel_futures))
            super().shutdown(wait, cancel_futures=cancel_futures)

    with Mine(1) as pool:
        getattr(pool, force)()
    assert heard == [(False, True), (True, False)]


# --- threads cannot be killed


def test_a_pool_of_threads_stops_waiting_but_lets_them_run() -> None:
    go_on = threading.Event()
    pool = owngil.Pool(1, kind="thread")
    held = pool.submit(go_on.wait)
    waiting = pool.submit(tasks.echo, 1)
    pool.shutdown(timeout=0.01)
    assert waiting.cancelled()
    assert not held.done()
    go_on.set()
    assert held.result()
    pool.shutdown()


@FORCES
def test_a_pool_of_threads_says_that_it_cannot_kill(force: str) -> None:
    with owngil.Pool(1, kind="thread") as pool, pytest.raises(NotImplementedError):
        getattr(pool, force)()


def _is_closed(pool: owngil.Pool) -> bool:
    try:
        return pool.submit(tasks.echo, 1) is None
    except RuntimeError:
        return True


def _leave_endless_thread() -> int:
    threading.Thread(target=threading.Event().wait).start()
    return os.getpid()


def _finish_when_told(gate: Gate) -> str:
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    gate.enter()
    told.wait()
    return "in order"


def _note(folder: Path) -> None:
    (folder / f"initialized by {os.getpid()}").touch()


def _all_outcomes(results: Iterator[int]) -> list[object]:
    outcomes: list[object] = []
    while True:
        try:
            outcomes.append(next(results))
        except StopIteration:
            return outcomes
        except concurrent.futures.CancelledError as error:
            outcomes.append(error)
        except Exception as error:
            outcomes.append(error)

# SPDX-License-Identifier: BSD-3-Clause
"""shutdown, `with`, and what happens to a pool that nobody shuts down."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import tasks

import owngil
from harness import kinds, leaks, processes
from harness.conditions import wait_until
from harness.gate import Gate
from harness.starts import pids_of


def worker_pids(pool: owngil.Pool) -> list[int]:
    """Of a pool all of whose workers have started."""
    list(pool.map(tasks.echo, range(2), chunksize=1))
    return pids_of(pool)


def have_ended(pids: list[int]) -> bool:
    return not any(processes.read(pid) for pid in pids)


def test_leaving_the_with_block_waits_for_all_tasks() -> None:
    with owngil.Pool(2) as pool:
        futures = [pool.submit(tasks.add, number) for number in range(500)]
    assert all(future.done() for future in futures)
    assert [future.result(timeout=0) for future in futures] == list(range(1, 501))


def test_after_shutdown_the_workers_are_gone() -> None:
    with owngil.Pool(2) as pool:
        pids = worker_pids(pool)
    wait_until(lambda: have_ended(pids))


def test_submit_after_shutdown_is_refused_as_by_the_standard_pool() -> None:
    pool = owngil.Pool(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(tasks.echo, 1)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.map(tasks.echo, [1])


def test_shutting_down_twice_is_harmless() -> None:
    pool = owngil.Pool(1)
    pool.submit(tasks.echo, 1).result()
    pool.shutdown()
    pool.shutdown(wait=False)
    pool.shutdown(cancel_futures=True)


def test_a_pool_that_was_never_used_can_be_shut_down() -> None:
    owngil.Pool(2).shutdown()
    owngil.Pool(2).shutdown(wait=False)


def test_shutdown_without_waiting_returns_and_the_tasks_still_end(gate: Gate) -> None:
    pool = owngil.Pool(2)
    held = [pool.submit(gate.enter) for _ in range(2)]
    waiting = [pool.submit(tasks.echo, number) for number in range(20)]
    gate.wait_for_entered(2)
    pool.shutdown(wait=False)
    assert not held[0].done()
    gate.open()
    assert all(future.result() > 0 for future in held)
    assert [future.result() for future in waiting] == list(range(20))
    pool.shutdown()


def test_shutdown_with_cancel_futures_cancels_what_waits_and_only_that(gate: Gate) -> None:
    pool = owngil.Pool(2)
    held = [pool.submit(gate.enter) for _ in range(2)]
    gate.wait_for_entered(2)
    waiting = [pool.submit(gate.enter, "late") for _ in range(100)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    gate.open()
    assert all(future.result() > 0 for future in held)
    pool.shutdown()
    assert {label for _, label in gate.entered()} == {""}


def test_the_results_of_a_map_are_there_after_shutdown() -> None:
    pool = owngil.Pool(2)
    results = pool.map(tasks.add, range(100))
    pool.shutdown()
    assert list(results) == list(range(1, 101))


def test_an_exception_in_the_with_block_comes_out_of_it() -> None:
    with pytest.raises(KeyError, match="mine"), owngil.Pool(1):
        raise KeyError("mine")


def test_a_pool_that_is_dropped_ends_its_workers() -> None:
    pool = owngil.Pool(2)
    pids = worker_pids(pool)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    wait_until(lambda: have_ended(pids))


def test_the_futures_of_a_pool_that_is_dropped_still_come() -> None:
    pool = owngil.Pool(2)
    futures = [pool.submit(tasks.add, number) for number in range(100)]
    del pool
    gc.collect()
    assert [future.result() for future in futures] == list(range(1, 101))


def test_the_map_of_a_pool_that_is_dropped_still_comes() -> None:
    results = owngil.Pool(2).map(tasks.add, range(100))
    gc.collect()
    assert list(results) == list(range(1, 101))


@pytest.mark.kinds("process", "interpreter", "auto")
def test_a_pool_that_has_done_its_work_goes_with_the_last_who_holds_it(worker_kind: str) -> None:
    """Its shared memory, too: nothing of it waits for the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        with owngil.Pool(2, **kinds.options(worker_kind)) as pool:
            here = pool.submit(lambda: 1).result()
            assert list(pool.map(lambda n: n + here, range(9))) == list(range(1, 10))
            assert pool.options(retries=1).submit(tasks.echo, here).result() == 1
        gone = weakref.ref(pool)
        del pool
        assert gone() is None
    finally:
        gc.enable()


def test_a_pool_in_a_reference_cycle_is_collected() -> None:
    pool = owngil.Pool(1)
    (pid,) = worker_pids(pool)
    pool.itself = pool  # type: ignore[attr-defined]
    pool.submit(tasks.echo, 1).add_done_callback(lambda _, pool=pool: None)  # type: ignore[misc]
    del pool
    wait_until(lambda: gc.collect() >= 0 and have_ended([pid]))


def test_a_subclass_of_the_users_goes_together_with_its_last_pool() -> None:
    """The collector clears the class before it frees the pool, which still has to find its own."""

    class Mine(owngil.Pool):
        pass

    with Mine(1) as pool:
        pool.submit(tasks.echo, 1).result()
    gone = weakref.ref(Mine)
    del pool, Mine
    gc.collect()
    assert gone() is None


def test_a_pool_can_be_shut_down_from_a_callback(gate: Gate) -> None:
    pool = owngil.Pool(1)
    future = pool.submit(gate.enter)
    future.add_done_callback(lambda _: pool.shutdown(wait=False))
    gate.open()
    future.result()
    pool.shutdown()
    with pytest.raises(RuntimeError):
        pool.submit(tasks.echo, 1)


def test_a_callback_may_shut_the_pool_down_and_wait() -> None:
    pool = owngil.Pool(1)
    ended = threading.Event()

    def shut_down(_: object) -> None:
        pool.shutdown()
        ended.set()

    pool.submit(tasks.echo, 1).add_done_callback(shut_down)
    assert ended.wait(30)
    pool.shutdown()


def test_the_templates_of_former_pools_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        monkeypatch.setenv("OWNGIL_TEST_WORD", str(number))
        with owngil.Pool(1) as pool:
            assert pool.submit(tasks.environment, "OWNGIL_TEST_WORD").result() == str(number)
    wait_until(lambda: len(leaks.take_stock().templates) <= 6)


def test_many_pools_can_be_made_one_after_the_other() -> None:
    for number in range(30):
        with owngil.Pool(2) as pool:
            assert pool.submit(tasks.add, number).result() == number + 1


def test_several_pools_live_side_by_side() -> None:
    pools = [owngil.Pool(1, name=f"pool {number}") for number in range(5)]
    assert [pool.submit(tasks.echo, n).result() for n, pool in enumerate(pools)] == list(range(5))
    assert len({pid for pool in pools for pid in worker_pids(pool)}) == 5
    for pool in pools:
        pool.shutdown()

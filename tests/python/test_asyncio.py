# SPDX-License-Identifier: BSD-3-Clause
"""A pool under asyncio: run_in_executor and wrap_future, as with the standard executors."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import tasks

import owngil
from harness.gate import Gate


def test_run_in_executor_gives_the_result(pool: owngil.Pool) -> None:
    async def main() -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, tasks.add, 40, 2)

    assert asyncio.run(main()) == 42


def test_run_in_executor_raises_what_the_task_raised(pool: owngil.Pool) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(pool, tasks.fail, KeyError, "k")

    with pytest.raises(KeyError):
        asyncio.run(main())


def test_a_submitted_future_can_be_awaited(pool: owngil.Pool) -> None:
    async def main() -> Any:
        return await asyncio.wrap_future(pool.submit(tasks.echo, 7))

    assert asyncio.run(main()) == 7


def test_a_finished_future_can_be_awaited(pool: owngil.Pool) -> None:
    async def main() -> Any:
        future = pool.submit(tasks.echo, 7)
        future.result()
        return await asyncio.wrap_future(future)

    assert asyncio.run(main()) == 7


def test_thousands_of_calls_can_be_gathered(pool: owngil.Pool) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        calls = (loop.run_in_executor(pool, tasks.add, number, 1) for number in range(2000))
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == list(range(1, 2001))


def test_the_loop_goes_on_while_a_task_runs(pool: owngil.Pool, gate: Gate) -> None:
    async def main() -> int:
        held = asyncio.get_running_loop().run_in_executor(pool, gate.enter)
        while not gate.entered():
            await asyncio.sleep(0)
        assert not held.done()
        gate.open()
        return await held

    assert asyncio.run(main()) > 0


def test_cancelling_an_await_cancels_the_waiting_task(pool: owngil.Pool, gate: Gate) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        held = [loop.run_in_executor(pool, gate.enter) for _ in range(2)]
        while len(gate.entered()) < 2:
            await asyncio.sleep(0)
        waiting = loop.run_in_executor(pool, gate.enter, "never")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)  # only now does asyncio pass the cancellation on
        gate.open()
        await asyncio.gather(*held)

    asyncio.run(main())
    pool.shutdown()
    assert {label for _, label in gate.entered()} == {""}


def test_wait_for_gives_up_in_time(pool: owngil.Pool, gate: Gate) -> None:
    async def main() -> None:
        held = asyncio.get_running_loop().run_in_executor(pool, gate.enter)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(held, 0.05)

    asyncio.run(main())
    gate.open()


def test_a_dead_worker_is_told_to_the_awaiting_one(pool: owngil.Pool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(owngil.WorkerDied):
            await loop.run_in_executor(pool, tasks.end_by_signal)
        assert await loop.run_in_executor(pool, tasks.echo, 1) == 1

    asyncio.run(main())


def test_two_loops_in_two_threads_share_a_pool(pool: owngil.Pool) -> None:
    results: dict[int, list[Any]] = {}

    def run(which: int) -> None:
        async def main() -> list[Any]:
            loop = asyncio.get_running_loop()
            return await asyncio.gather(
                *(loop.run_in_executor(pool, tasks.add, which, n) for n in range(300))
            )

        results[which] = asyncio.run(main())

    threads = [threading.Thread(target=run, args=(which,)) for which in (1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {which: [which + n for n in range(300)] for which in (1000, 2000)}


def test_a_loop_that_closes_early_is_not_called_any_more(pool: owngil.Pool, gate: Gate) -> None:
    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(pool, gate.enter)

    asyncio.run(main())
    gate.open()
    pool.shutdown()

# SPDX-License-Identifier: BSD-3-Clause
"""What arguments may take up of shared memory: who waits, who is refused, and what it is told."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import tasks

import owngil
from harness import arenas, scripts
from harness.conditions import wait_until

MIB = 1 << 20


@pytest.fixture
def used() -> Callable[[], int]:
    """What the arenas of pools hold that were made after this."""
    before = arenas.held("owngil-arguments")
    return lambda: sum(
        held for inode, held in arenas.held("owngil-arguments").items() if inode not in before
    )


@pytest.fixture
def pool(used: Callable[[], int]) -> Iterator[owngil.Pool]:
    with owngil.Pool(1, arena_limit=8 * MIB) as pool:
        yield pool


def hold(data: Any, gate: str) -> int:
    """Ends once that file exists."""
    wait_until(lambda: os.path.exists(gate))
    return len(data)


def in_thread(call: Any) -> Future[Any]:
    """What the call returns, or raises, in a thread of its own."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_submit_waits_until_something_in_flight_has_made_room(
    pool: owngil.Pool, tmp_path: Any
) -> None:
    gate = tmp_path / "gate"
    first = [pool.submit(hold, bytes(3 * MIB), str(gate)) for _ in range(2)]
    waiting = in_thread(lambda: pool.submit(len, bytes(3 * MIB)).result())
    other = pool.submit(len, b"small")  # always fits
    assert not waiting.done()
    gate.touch()
    assert waiting.result() == 3 * MIB
    assert other.result() == 5
    assert [one.result() for one in first] == [3 * MIB] * 2


def test_many_more_bytes_than_fit_go_through_from_many_threads(
    pool: owngil.Pool, used: Callable[[], int]
) -> None:
    def send() -> int:
        return sum(pool.submit(len, bytes(MIB)).result() for _ in range(20))

    assert [one.result() for one in [in_thread(send) for _ in range(4)]] == [20 * MIB] * 4
    futures = [pool.submit(len, bytearray(MIB)) for _ in range(60)]
    assert sum(future.result() for future in futures) == 60 * MIB
    assert used() < 12 * MIB


def test_a_large_pickle_waits_as_a_large_buffer_does(
    pool: owngil.Pool, used: Callable[[], int]
) -> None:
    texts = [str(n) * 100 for n in range(5000)]  # 2 MB, and no buffer
    futures = [pool.submit(len, [texts]) for _ in range(30)]
    assert {future.result() for future in futures} == {1}
    assert used() < 12 * MIB


def test_a_task_that_can_never_fit_is_told_so(pool: owngil.Pool) -> None:
    error = pool.submit(len, bytes(9 * MIB)).exception()
    assert isinstance(error, MemoryError)
    assert f"{9 * MIB} bytes" in str(error)
    assert f"of at most {8 * MIB} bytes (arena_limit)" in str(error)
    assert "it can never fit" in str(error)
    with pytest.raises(MemoryError, match="never fit"):
        pool.submit(len, ["x" * 9 * MIB])
    error = pool.submit(tasks.echo, [bytes(5 * MIB), bytes(5 * MIB)]).exception()
    assert isinstance(error, MemoryError)  # each fits, but not both
    assert pool.submit(len, bytes(7 * MIB)).result() == 7 * MIB


_kept: list[Any] = []


def _keep(data: Any) -> int:
    _kept.append(data)
    return os.getpid()


def test_who_keeps_memory_is_named_when_nothing_in_flight_can_make_room(pool: owngil.Pool) -> None:
    pid = pool.submit(_keep, memoryview(bytes(6 * MIB))).result()
    error = pool.submit(len, bytes(3 * MIB)).exception()
    assert isinstance(error, MemoryError)
    assert f"{6 * MIB} bytes by worker 0 (pid {pid})" in str(error)
    pool.submit(_kept.clear).result()
    assert pool.submit(len, bytes(MIB)).result() == MIB


def test_a_thread_that_runs_an_event_loop_is_refused_at_once(
    pool: owngil.Pool, tmp_path: Any
) -> None:
    gate = tmp_path / "gate"
    held = pool.submit(hold, bytes(6 * MIB), str(gate))

    async def submit() -> None:
        error = pool.submit(len, bytes(3 * MIB)).exception()
        assert isinstance(error, MemoryError)
        assert "event loop" in str(error)

    asyncio.run(submit())
    gate.touch()
    assert held.result() == 6 * MIB


def test_an_interrupt_ends_the_waiting(tmp_path: Any) -> None:
    gate = tmp_path / "gate"
    with owngil.Pool(1, arena_limit=8 * MIB) as pool:
        held = pool.submit(hold, bytes(6 * MIB), str(gate))
        wait_until(held.running)
        pid, main = os.getpid(), threading.main_thread().native_id

        def waits() -> bool:
            with open(f"/proc/{pid}/task/{main}/syscall") as file:
                return file.read().split()[0] in ("271", "202", "7")  # ppoll, futex, poll

        def interrupt() -> None:
            wait_until(waits)
            os.kill(pid, signal.SIGINT)

        interrupting = in_thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            pool.submit(len, bytes(3 * MIB)).result()
        interrupting.result()
        gate.touch()
        assert held.result() == 6 * MIB
        assert pool.submit(len, bytes(3 * MIB)).result() == 3 * MIB


def test_a_worker_that_dies_makes_room(pool: owngil.Pool) -> None:
    futures = [pool.submit(_die, bytes(5 * MIB)) for _ in range(3)]
    assert all(isinstance(future.exception(), owngil.WorkerDied) for future in futures)
    assert pool.submit(len, bytes(7 * MIB)).result() == 7 * MIB


def _die(data: bytes) -> None:
    os._exit(1)


def test_map_takes_no_more_than_fits_and_gives_all_of_it(
    pool: owngil.Pool, used: Callable[[], int]
) -> None:
    taken = 0

    def source() -> Iterator[bytes]:
        nonlocal taken
        for n in range(40):
            taken += 1
            yield bytes(MIB + n)

    lengths = pool.map(len, source())
    assert taken <= 10
    assert list(lengths) == [MIB + n for n in range(40)]
    assert used() < 12 * MIB
    assert list(pool.map(_both, source(), source())) == [2 * (MIB + n) for n in range(40)]


def _both(one: bytes, other: bytes) -> int:
    return len(one) + len(other)


def test_map_begins_no_more_while_much_waits_to_be_read(pool: owngil.Pool, tmp_path: Any) -> None:
    results = pool.map(_count_and_make, [str(tmp_path)] * 60, chunksize=1)
    assert len(next(results)) == MIB
    assert pool.submit(len, os.listdir(tmp_path)).result() < 40  # others are not held up
    assert sum(len(one) for one in results) == 59 * MIB
    assert len(os.listdir(tmp_path)) == 60


def _count_and_make(folder: str) -> bytes:
    with open(os.path.join(folder, str(len(os.listdir(folder)))), "x"):
        return bytes(MIB)


def test_shutdown_lets_a_map_run_to_its_end_that_nobody_reads(tmp_path: Any) -> None:
    with owngil.Pool(1, arena_limit=4 * MIB) as pool:
        results = pool.map(_count_and_make, [str(tmp_path)] * 20, chunksize=1)
    assert len(os.listdir(tmp_path)) == 20
    assert [len(one) for one in results] == [MIB] * 20


def test_a_map_that_is_held_up_can_be_closed(pool: owngil.Pool, tmp_path: Any) -> None:
    results = pool.map(_count_and_make, [str(tmp_path)] * 60, chunksize=1)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert pool.submit(len, bytes(7 * MIB)).result() == 7 * MIB
    assert len(os.listdir(tmp_path)) < 60


@pytest.mark.parametrize("limit", [0, -1, 1.5, "1"])
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="arena_limit"):
        owngil.Pool(1, arena_limit=limit)


def test_a_process_with_little_address_space_sends_and_gets_what_fits() -> None:
    done = scripts.run_code(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        import owngil
        with owngil.Pool(2) as pool:
            for size in (1 << 20, 30 << 20):
                data = bytes(size)
                print(len(pool.submit(bytes, data).result()))
                with pool.share(data) as shared:
                    print(pool.submit(len, shared).result())
            print(type(pool.submit(len, bytes(700 << 20)).exception()).__name__)
            print(type(pool.submit(bytes, 1 << 30).exception()).__name__)
            print(pool.submit(pow, 2, 3).result())
        """
    )
    assert done.lines == [
        str(1 << 20), str(1 << 20), str(30 << 20), str(30 << 20), "MemoryError", "MemoryError", "8",
    ]  # fmt: skip

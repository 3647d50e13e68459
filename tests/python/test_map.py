# SPDX-License-Identifier: BSD-3-Clause
"""map: order, laziness, chunks, timeouts, and that the item is the unit, not the chunk."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import meddling
import pytest
import tasks

import owngil
from harness.gate import Gate


@pytest.mark.parametrize("chunksize", [None, 1, 3, 1000])
def test_results_come_in_the_order_of_the_items(pool: owngil.Pool, chunksize: int | None) -> None:
    assert list(pool.map(tasks.add, range(500), chunksize=chunksize)) == list(range(1, 501))


def test_several_iterables_are_walked_together_up_to_the_shortest(pool: owngil.Pool) -> None:
    assert list(pool.map(tasks.add, [1, 2, 3], itertools.count(10))) == [11, 13, 15]


def test_no_items_make_no_results(pool: owngil.Pool) -> None:
    assert list(pool.map(tasks.echo, [])) == []


def test_map_without_iterables_is_as_in_the_standard_library(pool: owngil.Pool) -> None:
    assert list(pool.map(tasks.capture)) == []


@pytest.mark.parametrize("kind", [int, str, tuple, dict])
def test_items_of_every_plain_kind_come_back(pool: owngil.Pool, kind: type) -> None:
    make: dict[type, Any] = {
        int: lambda n: n - 5000,
        str: lambda n: f"word {n}",
        tuple: lambda n: (n, str(n), None),
        dict: lambda n: {"n": n, "even": n % 2 == 0},
    }
    items = [make[kind](number) for number in range(10_000)]
    assert list(pool.map(tasks.echo, items)) == items


def test_ints_come_back_as_they_were(pool: owngil.Pool) -> None:
    bits = [0, 1, 7, 8, 15, 29, 30, 31, 32, 60, 61, 62, 63, 64, 65, 200]
    items = [sign * (1 << n) + near for n in bits for sign in (1, -1) for near in (-1, 0, 1)]
    items += [True, False, signal.SIGTERM]
    results = list(pool.map(tasks.echo, items))
    assert results == items
    assert list(map(type, results)) == list(map(type, items))


@pytest.mark.parametrize("make", [str, bytes, list])
def test_items_of_any_length_come_back(pool: owngil.Pool, make: Any) -> None:
    items = [make(b"x" * size) if make is bytes else make("x" * size) for size in range(300)]
    assert list(pool.map(tasks.echo, items)) == items


def test_large_items_come_back(pool: owngil.Pool) -> None:
    items = [bytes([number % 256]) * 300_000 for number in range(40)]
    assert list(pool.map(tasks.echo, items)) == items


@pytest.mark.parametrize("chunksize", [0, -1])
def test_a_chunksize_below_one_is_refused(pool: owngil.Pool, chunksize: int) -> None:
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(tasks.echo, [1], chunksize=chunksize)


@pytest.mark.parametrize("buffersize", [0, -1])
def test_a_buffersize_below_one_is_refused(pool: owngil.Pool, buffersize: int) -> None:
    with pytest.raises(ValueError, match="buffersize must be None or > 0"):
        pool.map(tasks.echo, [1], buffersize=buffersize)


@pytest.mark.parametrize("buffersize", ["foo", 2.0])
def test_a_buffersize_that_is_no_int_is_refused(pool: owngil.Pool, buffersize: Any) -> None:
    with pytest.raises(TypeError, match="buffersize must be an integer or None"):
        pool.map(tasks.echo, [1], buffersize=buffersize)


def test_map_over_what_cannot_be_called_is_refused(pool: owngil.Pool) -> None:
    with pytest.raises(TypeError, match="callable"):
        pool.map(None, [1])  # type: ignore[arg-type]


def test_with_a_buffersize_map_takes_no_more_items_than_that_ahead(pool: owngil.Pool) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = pool.map(tasks.echo, items(), buffersize=4)
    assert len(taken) == 4
    for expected in range(50):
        assert next(results) == expected
        assert len(taken) <= expected + 1 + 4


@pytest.mark.parametrize("buffersize", [1, 2, 7, 100])
def test_with_a_buffersize_map_still_keeps_the_order(pool: owngil.Pool, buffersize: int) -> None:
    results = pool.map(tasks.add, range(60), buffersize=buffersize)
    assert list(results) == list(range(1, 61))


def test_with_a_buffersize_map_takes_unbounded_iterators(pool: owngil.Pool) -> None:
    results = pool.map(tasks.add, itertools.count(), itertools.count(), buffersize=8)
    assert list(itertools.islice(results, 20)) == list(range(0, 40, 2))


def test_without_a_buffersize_all_items_are_taken_at_once(pool: owngil.Pool) -> None:
    items = iter(range(100))
    results = pool.map(tasks.echo, items)
    assert next(items, None) is None
    assert list(results) == list(range(100))


def test_a_result_is_handed_out_while_later_items_still_run(pool: owngil.Pool, gate: Gate) -> None:
    results = pool.map(_pass_gate, [gate] * 6, [0, 1, 2, 3, 4, 5], [4] * 6, chunksize=1)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    gate.open()
    assert list(results) == [4, 5]


def test_an_exception_is_raised_at_its_item(pool: owngil.Pool) -> None:
    results = pool.map(tasks.raise_at, range(10), itertools.repeat(4), chunksize=5)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="item 4"):
        next(results)


@pytest.mark.parametrize("chunksize", [None, 1, 3, 10])
def test_the_iterator_goes_on_behind_an_item_that_failed(
    pool: owngil.Pool, chunksize: int | None
) -> None:
    results = pool.map(tasks.raise_at, range(10), itertools.repeat(4), chunksize=chunksize)
    outcomes = tasks.outcomes(results)
    assert isinstance(outcomes.pop(4), ValueError)
    assert outcomes == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_each_of_many_failing_items_fails_alone(pool: owngil.Pool) -> None:
    results = pool.map(divmod, range(100), [0, 1] * 50)
    outcomes = tasks.outcomes(results)
    assert all(isinstance(outcome, ZeroDivisionError) for outcome in outcomes[::2])
    assert outcomes[1::2] == [(number, 0) for number in range(1, 100, 2)]


def test_an_item_that_failed_does_not_end_a_lazy_map(pool: owngil.Pool) -> None:
    results = pool.map(divmod, itertools.count(), itertools.cycle([1, 0]), buffersize=4)
    assert next(results) == (0, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == (2, 0)


def test_a_timeout_is_raised_when_a_result_does_not_come_in_time(
    pool: owngil.Pool, gate: Gate
) -> None:
    results = pool.map(_pass_gate, [gate] * 3, [0, 1, 2], [0] * 3, timeout=0.05, chunksize=1)
    with pytest.raises(TimeoutError):
        next(results)
    gate.open()


def test_a_timeout_that_is_not_reached_changes_nothing(pool: owngil.Pool) -> None:
    assert list(pool.map(tasks.add, range(50), timeout=60)) == list(range(1, 51))


def test_dropping_the_iterator_cancels_what_has_not_begun(
    pool: owngil.Pool, gate: Gate, tmp_path: Path
) -> None:
    blockers = [pool.submit(gate.enter) for _ in range(2)]
    gate.wait_for_entered(2)
    results = pool.map(_touch_in, itertools.repeat(tmp_path, 50), range(50), chunksize=1)
    del results
    gate.open()
    for blocker in blockers:
        blocker.result()
    pool.shutdown()
    assert not list(tmp_path.glob("item-*"))


@pytest.fixture(params=[meddling.close, meddling.take])
def meddle(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    yield request.param
    meddling.results = None


def test_an_iterator_may_not_meddle_with_the_map_that_takes_from_it(
    pool: owngil.Pool, meddle: Callable[[], None]
) -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        meddle()

    meddling.results = pool.map(tasks.echo, items(), buffersize=2)
    with pytest.raises(ValueError, match="map iterator already executing"):
        list(meddling.results)


def test_an_item_that_meddles_with_its_map_when_it_is_pickled_fails_alone(
    pool: owngil.Pool, meddle: Callable[[], None]
) -> None:
    items = iter([0, 1, 2, meddling.WhenPickled(meddle), 4])
    meddling.results = pool.map(tasks.echo, items, buffersize=2)
    outcomes = tasks.outcomes(meddling.results)
    assert "already executing" in str(outcomes.pop(3))
    assert outcomes == [0, 1, 2, 4]


def test_a_result_that_meddles_with_its_map_when_it_is_unpickled_fails_alone(
    pool: owngil.Pool, meddle: Callable[[], None]
) -> None:
    meddling.results = pool.map(meddling.answer, range(5), [meddle] * 5, chunksize=5)
    outcomes = tasks.outcomes(meddling.results)
    assert "already executing" in str(outcomes.pop(3))
    assert outcomes == [0, 1, 2, 4]


def test_an_item_that_empties_the_list_while_it_is_pickled_ends_the_map(pool: owngil.Pool) -> None:
    items: list[Any] = []

    class Emptying:
        def __reduce__(self) -> Any:
            items.clear()
            return int, ()

    items += [1, [2], Emptying(), 4, [5]]
    assert list(pool.map(tasks.echo, items)) == [1, [2], 0]


def test_the_iterators_own_exception_is_the_callers(pool: owngil.Pool) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(pool.map(tasks.echo, items()))
    assert pool.submit(tasks.echo, 1).result() == 1


def test_an_item_that_cannot_be_pickled_fails_alone(pool: owngil.Pool) -> None:
    lock = tasks.make_lock()
    results = pool.map(tasks.echo, [0, 1, lock, 3])
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(TypeError, match="pickle"):
        next(results)
    assert next(results) == 3


def test_several_maps_run_side_by_side(pool: owngil.Pool) -> None:
    first = pool.map(tasks.add, range(1000))
    second = pool.map(tasks.echo, map(str, range(1000)))
    pairs = list(zip(first, second, strict=True))
    assert pairs == [(number + 1, str(number)) for number in range(1000)]


def test_a_map_over_a_local_function_works(pool: owngil.Pool) -> None:
    factor = 3
    assert list(pool.map(lambda n: n * factor, range(100))) == list(range(0, 300, 3))


def test_a_million_small_items_arrive(pool: owngil.Pool) -> None:
    assert sum(pool.map(tasks.echo, range(1_000_000))) == sum(range(1_000_000))


def _pass_gate(gate: Gate, number: int, held_from: int) -> int:
    if number >= held_from:
        gate.enter(number)
    return number


def _touch_in(folder: Path, number: int) -> None:
    (folder / f"item-{number}").touch()

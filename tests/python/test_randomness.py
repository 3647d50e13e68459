# SPDX-License-Identifier: BSD-3-Clause
"""No two workers, and no worker and the user's process, draw the same random numbers."""

from __future__ import annotations

import importlib.util
import itertools
import random

import pytest
import tasks

import owngil
from harness.gate import Gate


def draw(gate: Gate, draws: object) -> object:
    gate.enter()
    return draws() if callable(draws) else None


@pytest.mark.parametrize("start", ["template", "spawn"])
def test_workers_draw_different_random_numbers(start: str, gate: Gate) -> None:
    with owngil.Pool(3, start=start) as pool:
        held = [pool.submit(draw, gate, tasks.random_numbers) for _ in range(3)]
        gate.wait_for_entered(3)
        gate.open()
        drawn = [future.result() for future in held]
    drawn.append(tasks.random_numbers())
    assert len(set(drawn)) == 4


def test_a_replaced_worker_draws_other_numbers_than_the_one_before() -> None:
    with owngil.Pool(1, max_tasks_per_child=1) as pool:
        drawn = [pool.submit(tasks.random_numbers).result() for _ in range(4)]
    assert len(set(drawn)) == 4


def test_a_later_pool_draws_other_numbers_although_its_template_is_the_same() -> None:
    drawn = []
    for _ in range(3):
        with owngil.Pool(1) as pool:
            drawn.append(pool.submit(tasks.random_numbers).result())
    assert len(set(drawn)) == 3


def test_seeding_here_does_not_seed_there() -> None:
    random.seed(5)
    drawn = []
    for _ in range(2):
        with owngil.Pool(1) as pool:
            drawn.append(pool.submit(tasks.random_numbers).result())
    assert drawn[0] != drawn[1]


def test_a_worker_that_seeds_itself_draws_what_it_asked_for() -> None:
    with owngil.Pool(1) as pool:
        assert pool.submit(_seeded, 5).result() == pool.submit(_seeded, 5).result() == _seeded(5)


@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="NumPy is not installed")
@pytest.mark.parametrize("preload", [(), ("numpy.random",)])
def test_workers_draw_different_numpy_random_numbers(preload: tuple[str, ...], gate: Gate) -> None:
    with owngil.Pool(3, preload=preload) as pool:
        held = [pool.submit(draw, gate, _numpy_numbers) for _ in range(3)]
        gate.wait_for_entered(3)
        gate.open()
        drawn = [future.result() for future in held]
    assert all(one != other for one, other in itertools.combinations(drawn, 2))


def _seeded(seed: int) -> float:
    random.seed(seed)
    return random.random()


def _numpy_numbers() -> list[float]:
    import numpy

    numbers: list[float] = numpy.random.random(4).tolist()
    return numbers

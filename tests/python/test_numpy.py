# SPDX-License-Identifier: BSD-3-Clause
"""NumPy arrays as arguments and results."""

from __future__ import annotations

import pytest
import tasks

import owngil

numpy = pytest.importorskip("numpy")

pytestmark = pytest.mark.kinds("process", "auto")  # NumPy refuses to load in interpreters


def test_numpy_arrays_make_the_round_trip(pool: owngil.Pool) -> None:
    for array in (
        numpy.arange(10),
        numpy.arange(2_000_000, dtype="float64").reshape(1000, 2000),
        numpy.asfortranarray(numpy.arange(12).reshape(3, 4)),
        numpy.array(["a", None], dtype=object),
    ):
        back = pool.submit(tasks.echo, array).result()
        assert back.dtype == array.dtype
        assert back.flags.f_contiguous == array.flags.f_contiguous
        assert (back == array).all()
        back[0] = back[1]  # the result is the caller's own, and writable


def test_an_array_that_a_task_changes_is_its_own(pool: owngil.Pool) -> None:
    array = numpy.zeros(500_000)
    assert pool.submit(_fill, array).result() == 500_000
    assert array.sum() == 0


def _fill(array: numpy.ndarray) -> float:
    array[:] = 1
    return float(array.sum())

# SPDX-License-Identifier: BSD-3-Clause
"""Every cell of the failure matrix is a test, named by the sentence that it checks."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import apart
import matrix
import pytest
from driver import Cell, Seen
from matrix import Gets, Row

import owngil
from harness.conditions import wait_until

ROOT = Path(__file__).parents[2]


class Pools:
    """One pool for each way to have workers, opened anew when a cell has closed it."""

    def __init__(self) -> None:
        self._open: dict[str, owngil.Pool] = {}

    def get(self, way: str) -> owngil.Pool:
        if way not in self._open:
            self._open[way] = owngil.Pool(2, **matrix.OPTIONS[way])
        return self._open[way]

    def close(self, way: str) -> None:
        self._open.pop(way).shutdown()

    def __enter__(self) -> Pools:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for way in list(self._open):
            self.close(way)


@pytest.fixture(scope="module")
def pools() -> Iterator[Pools]:
    with Pools() as pools:
        yield pools


def check(gets: Gets, seen: Seen) -> None:
    if not gets.error:
        assert seen.error is None
        assert seen.value == 1
        return
    assert gets.error in [kind.__name__ for kind in type(seen.error).__mro__], repr(seen.error)
    if gets.how:
        assert isinstance(seen.error, owngil.WorkerDied)
        code, number = seen.error.exitcode, seen.error.signal
        assert gets.how == (f"exit code {code}" if number is None else signal.Signals(number).name)


def cells(*, apart: bool) -> pytest.MarkDecorator:
    found = [cell for cell in matrix.cells() if (cell[1] in matrix.APART) == apart]
    return pytest.mark.parametrize(
        ("row", "stage", "way"), found, ids=[matrix.sentence(*cell) for cell in found]
    )


@cells(apart=False)
def test(row: Row, stage: str, way: str, pools: Pools, tmp_path: Path) -> None:
    cell = Cell(pools.get(way), tmp_path, row.event, row.limited)
    seen = cell.happen(stage)
    check(row.task, seen)
    if row.pool == matrix.KEPT:
        assert cell.lives(seen.pid)
    elif stage != matrix.SHUTDOWN:
        wait_until(lambda: not cell.lives(seen.pid), "the worker's end")
    if stage == matrix.SHUTDOWN or row.disorder:
        pools.close(way)


@cells(apart=True)
def test_apart(row: Row, stage: str, way: str, tmp_path: Path) -> None:
    """Stages of a pool, or of a program, that no other cell can share."""
    seen = apart.WAYS[stage](row.event, way, tmp_path)
    if seen is not None:
        check(row.task, seen)


def test_the_architecture_shows_this_very_table() -> None:
    shown = matrix.shown_in((ROOT / "ARCHITECTURE.md").read_text())
    assert shown == matrix.table(), matrix.__doc__


def test_every_sentence_is_said_once() -> None:
    sentences = [matrix.sentence(*cell) for cell in matrix.cells()]
    assert len(set(sentences)) == len(sentences)

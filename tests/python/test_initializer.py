# SPDX-License-Identifier: BSD-3-Clause
"""The initializer runs once in each worker, before its first task; if it raises the pool breaks."""

from __future__ import annotations

import os
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import tasks

import owngil
from harness.conditions import wait_until
from harness.gate import Gate

STARTS = pytest.mark.parametrize("start", ["template", "spawn"])


@STARTS
def test_it_runs_once_in_each_worker_before_the_first_task(
    start: str, gate: Gate, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    with owngil.Pool(2, initializer=_note, initargs=(notes, "word"), start=start) as pool:
        held = [pool.submit(gate.enter) for _ in range(2)]
        pids = {pid for pid, _ in gate.wait_for_entered(2)}
        gate.open()
        for future in held:
            future.result()
        assert pool.submit(_word).result() == "word"
    assert {int(path.name) for path in notes.iterdir()} == pids


def test_it_runs_again_in_a_worker_that_replaces_a_dead_one() -> None:
    with owngil.Pool(1, initializer=_set_word, initargs=("w",)) as pool:
        with pytest.raises(owngil.WorkerDied):
            pool.submit(tasks.end_by_signal).result()
        assert pool.submit(_word).result() == "w"


def test_a_local_function_will_do() -> None:
    words = ["a"]

    def initialize(more: str) -> None:
        os.environ["OWNGIL_TEST_WORD"] = words[0] + more

    with owngil.Pool(1, initializer=initialize, initargs=("b",)) as pool:
        assert pool.submit(tasks.environment, "OWNGIL_TEST_WORD").result() == "ab"


def test_what_it_changed_in_its_process_stays_changed(tmp_path: Path) -> None:
    def initialize() -> None:
        os.chdir(tmp_path)
        os.environ["OWNGIL_TEST_WORD"] = "mine"
        sys.path.insert(0, "/mine")

    with owngil.Pool(1, initializer=initialize) as pool:
        for _ in range(3):
            assert pool.submit(os.getcwd).result() == str(tmp_path)
            assert pool.submit(tasks.environment, "OWNGIL_TEST_WORD").result() == "mine"
            assert pool.submit(lambda: sys.path[0]).result() == "/mine"


@STARTS
def test_one_that_raises_breaks_the_pool_with_the_cause_chained(
    start: str, caplog: pytest.LogCaptureFixture
) -> None:
    with owngil.Pool(1, initializer=tasks.fail, initargs=(ValueError, "no"), start=start) as pool:
        with pytest.raises(BrokenProcessPool) as caught:
            pool.submit(tasks.echo, 1).result()
        assert isinstance(caught.value, owngil.PoolBroken)
        wait_until(lambda: _is_refused(pool))
        with pytest.raises(BrokenProcessPool):
            pool.submit(tasks.echo, 1)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "Exception in initializer:" in [record.getMessage() for record in caplog.records]


def test_one_that_raises_fails_all_that_waits() -> None:
    with owngil.Pool(2, initializer=tasks.fail, initargs=(ValueError, "no")) as pool:
        futures = []
        try:
            futures = [pool.submit(tasks.echo, number) for number in range(50)]
        except BrokenProcessPool:
            pass
        for future in futures:
            assert isinstance(future.exception(), BrokenProcessPool)


def test_one_that_dies_breaks_the_pool_instead_of_starting_workers_for_ever() -> None:
    with owngil.Pool(1, initializer=os._exit, initargs=(3,)) as pool:
        with pytest.raises(BrokenProcessPool):
            pool.submit(tasks.echo, 1).result()
        wait_until(lambda: _is_refused(pool))


def test_arguments_that_cannot_be_pickled_are_told_at_once_or_by_the_future() -> None:
    lock = tasks.make_lock()
    with pytest.raises((TypeError, BrokenProcessPool)) as caught:
        owngil.Pool(1, initializer=tasks.echo, initargs=(lock,)).submit(tasks.echo, 1).result()
    assert "pickle" in str(caught.value) or "pickle" in str(caught.value.__cause__)


def _is_refused(pool: owngil.Pool) -> bool:
    try:
        pool.submit(tasks.echo, 1)
    except BrokenProcessPool:
        return True
    return False


_the_word: Any = None


def _note(folder: Path, word: str) -> None:
    (folder / str(os.getpid())).touch(exist_ok=False)
    _set_word(word)


def _set_word(word: str) -> None:
    global _the_word
    _the_word = word


def _word() -> Any:
    return _the_word

# SPDX-License-Identifier: BSD-3-Clause
"""`owngil.gil_contention()` and the sampler below it: what they see of threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import owngil
from owngil import _gil
from owngil._contention import HeldShare
from owngil._lab.work import count_holding, count_releasing, steps_for


@contextmanager
def spinning(count: int) -> Iterator[list[threading.Thread]]:
    """So many threads that compute in pure Python."""
    stop = False

    def spin() -> None:
        while not stop:
            pass

    threads = [threading.Thread(target=spin, name=f"spin {i}") for i in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stop = True
        for thread in threads:
            thread.join()


def test_alone_nobody_waits() -> None:
    contention = owngil.gil_contention(0.05)
    assert contention.samples > 0
    assert contention.waiting == 0
    assert float(contention) == 0


def test_two_threads_that_compute_hold_it_and_wait_for_it() -> None:
    with spinning(2) as threads:
        contention = owngil.gil_contention(0.2)
    assert contention.held > 0.5
    assert 0 < contention.waiting <= 1
    for thread in threads:
        holding, waiting = contention.by_thread[thread.name]
        assert holding + waiting > 0


def test_it_shows_itself_in_a_notebook() -> None:
    shares = {"<main>": (0.25, 0.5)}
    shown = owngil.GilContention(
        waiting=0.5, held=0.25, by_thread=shares, samples=100
    )._repr_html_()
    assert "held 25% of the time; 50% of it somebody waited" in shown
    assert "25 % holds the GIL, 50 % waits for it, 25 % does without" in shown
    assert "&lt;main&gt;" in shown
    assert "<html" not in shown
    nobody = owngil.GilContention(0.0, 0.0, {}, 100)._repr_html_()
    assert "held 0%" in nobody


def test_threads_that_wait_for_something_else_are_not_counted() -> None:
    event = threading.Event()
    threads = [threading.Thread(target=event.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert owngil.gil_contention(0.05).waiting == 0
    finally:
        event.set()
        for thread in threads:
            thread.join()


def test_the_share_that_a_function_holds_is_known() -> None:
    steps = steps_for(count_holding, 0.2)
    with HeldShare() as holding:
        count_holding(steps)
    with HeldShare() as releasing:
        count_releasing(steps)
    assert holding.value is not None
    assert releasing.value is not None
    assert holding.value > 0.9
    assert releasing.value < 0.1


def test_what_is_too_short_to_tell_is_not_told() -> None:
    with HeldShare() as share:
        pass
    assert share.value is None


def test_slices_are_in_time_and_do_not_overlap_for_one_thread_and_state() -> None:
    sampler = _gil.Sampler(100_000, keep_slices=True)
    with spinning(2):
        sampler.run(100_000_000)
    found = sampler.take()
    last: dict[tuple[int, bool], int] = {}
    for thread, holds, begin, end in found["slices"]:
        assert begin < end
        assert begin >= last.get((thread, holds), 0)
        last[thread, holds] = end
    assert found["dropped"] == 0
    assert sampler.take()["slices"] == []


def test_a_sampler_stops_when_told(capsys: pytest.CaptureFixture[str]) -> None:
    sampler = _gil.Sampler(1_000_000)
    thread = threading.Thread(target=sampler.run, args=(1 << 60,))
    thread.start()
    sampler.stop()
    thread.join()
    assert sampler.take()["slices"] == []


def test_times_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="seconds must be more than 0"):
        owngil.gil_contention(0)
    with pytest.raises(ValueError, match="at least 1000"):
        _gil.Sampler(1)
    with pytest.raises(TypeError):
        _gil.Sampler("1")  # type: ignore[arg-type]

# SPDX-License-Identifier: BSD-3-Clause
"""Runs an experiment: its ways take turns, round after round, and calibrating loops go along."""

from __future__ import annotations

import inspect
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from owngil._cpus import usable_cpus

from .experiment import Experiment, Result, Settings
from .verdict import Conditions, judge

__all__ = ["Calibration", "run", "switch_interval"]

_CALIBRATION_S = 0.02
_NAP_S = 0.002


class Calibration:
    """Loops without the GIL, on as many CPUs at once as what is measured computes on (0: it only
    waits): who else is at work here shows in their share. If CPUs are left, a thread sleeps beside
    them, again and again: how late it wakes though nobody holds the GIL is the machine's doing.
    """

    def __init__(self, computes_on: int | None = None) -> None:
        from owngil._gil import count_releasing

        self._count = count_releasing
        self._cpus = usable_cpus()
        self._loops = self._cpus if computes_on is None else min(self._cpus, computes_on)
        self._shares: list[float] = []
        self._times: list[float] = []
        self._late: list[float] = []
        steps = 1 << 16
        while (seconds := self._seconds(steps)) < _CALIBRATION_S / 4:
            steps *= 2
        self._steps = int(steps * _CALIBRATION_S / seconds)

    def take(self) -> None:
        """One turn."""
        own: list[tuple[float, float]] = []

        def loop() -> None:
            cpu, began = time.thread_time(), time.perf_counter()
            self._count(self._steps)
            own.append((time.thread_time() - cpu, time.perf_counter() - began))

        threads = [threading.Thread(target=loop) for _ in range(self._loops)]
        for thread in threads:
            thread.start()
        end = time.perf_counter() + _CALIBRATION_S
        while self._loops < self._cpus and time.perf_counter() < end:
            due = time.perf_counter() + _NAP_S
            time.sleep(_NAP_S)
            self._late.append(time.perf_counter() - due)
        for thread in threads:
            thread.join()
        if own:
            self._shares.append(sum(cpu for cpu, _ in own) / sum(wall for _, wall in own))
            self._times.append(median(cpu for cpu, _ in own))

    def conditions(self) -> Conditions:
        """What the turns so far tell."""
        late = median(self._late) if self._late else 0.0
        if not self._times:
            return Conditions(self._cpus, 1.0, 0.0, late)
        middle = median(self._times)
        spread = median(abs(seconds - middle) for seconds in self._times) / middle
        return Conditions(self._cpus, median(self._shares), spread, late)

    def _seconds(self, steps: int) -> float:
        began = time.perf_counter()
        self._count(steps)
        return time.perf_counter() - began


@contextmanager
def switch_interval(seconds: float) -> Iterator[None]:
    """Set it, and set it back."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def run(
    experiment: Experiment, settings: Settings, show: Callable[[str], None] = lambda text: None
) -> Result:
    """Measure and judge. Opening (pools, a first small turn) is the warm-up and is not counted."""
    began = time.perf_counter()
    rounds = settings.rounds or experiment.rounds
    samples: dict[str, list[list[float]]] = {}
    with switch_interval(settings.switch_interval):
        show(f"{experiment.name}: warming up")
        with experiment.open(settings) as opened:
            absent = dict(opened.absent)
            samples = {way: [] for way in opened.ways}
            calibration = Calibration(experiment.computes_on)
            for number in range(rounds):
                ways = list(opened.ways)
                first = number % max(1, len(ways))
                for way in ways[first:] + ways[:first]:  # each goes first in turn
                    show(f"{experiment.name}: round {number + 1} of {rounds}, {way}")
                    calibration.take()
                    samples[way].append([float(sample) for sample in opened.ways[way]()])
            calibration.take()
    conditions = calibration.conditions()
    return Result(
        experiment.name,
        experiment.title,
        experiment.article,
        experiment.saw,
        {way: list(figures) for way, figures in experiment.saw_seconds.items()},
        experiment.teaches,
        {way: experiment.quantity(way) for way in samples},
        source_of(experiment),
        samples,
        absent,
        conditions,
        judge(experiment.claims(samples, settings), conditions, experiment.cpus),
        time.perf_counter() - began,
    )


def source_of(experiment: Experiment) -> str:
    """The code that decides, as it runs."""
    return "\n\n".join(
        textwrap.dedent(part if isinstance(part, str) else inspect.getsource(part)).strip()
        for part in experiment.source
    )

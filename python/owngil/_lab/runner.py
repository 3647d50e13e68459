# SPDX-License-Identifier: BSD-3-Clause
"""Runs an experiment: its ways take turns, round after round, and calibrating loops go along."""

from __future__ import annotations

import inspect
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .calibration import Calibration
from .experiment import Experiment, Result, Settings
from .verdict import judge

__all__ = ["run", "switch_interval"]

_LEAST_QUIET = 3  # rounds, for the others to be set aside
_PATIENCE_S = 25.0  # then no round is repeated: all experiments together take 5 minutes at most


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
    """Measure and judge. Opening (pools, a first small turn) is the warm-up and is not counted.

    A round in which others are at work on this machine is set aside and repeated, as long as some
    are quiet, there are not twice as many, and it has not taken long. Which ones is told by the
    calibration alone.
    """
    began = time.perf_counter()
    rounds = settings.rounds or experiment.rounds
    samples: dict[str, list[list[float]]] = {}
    with switch_interval(settings.switch_interval):
        show(f"{experiment.name}: warming up")
        with experiment.open(settings) as opened:
            absent = dict(opened.absent)
            samples = {way: [] for way in opened.ways}
            calibration = Calibration(experiment.computes_on)
            for number in range(2 * rounds):
                quiet = len(calibration.quiet())
                is_late = time.perf_counter() - began > _PATIENCE_S
                if number >= rounds and (not quiet or quiet >= rounds or is_late):
                    break
                calibration.begin_round()
                ways = list(opened.ways)
                first = number % max(1, len(ways))
                for way in ways[first:] + ways[:first]:  # each goes first in turn
                    show(f"{experiment.name}: round {number + 1}, {way}")
                    calibration.take()
                    samples[way].append([float(sample) for sample in opened.ways[way]()])
    kept = calibration.kept(min(rounds, _LEAST_QUIET))
    samples = {way: [measured[number] for number in kept] for way, measured in samples.items()}
    conditions = calibration.conditions(kept)
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

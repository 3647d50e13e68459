# SPDX-License-Identifier: BSD-3-Clause
"""What an experiment of the lab is: ways to measure something, and what is claimed of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

from .verdict import Claim, Conditions, Verdict

__all__ = ["CASE_STUDY", "FIND_OUT", "Experiment", "Opened", "Result", "Samples", "Settings"]

CASE_STUDY = "Python GIL: a case study"
FIND_OUT = (
    "I tried to find out as much as possible about the GIL that you should know if you are "
    "doing parallel processing with Python"
)

Samples = Mapping[str, Sequence[Sequence[float]]]  # way -> what each round measured


@dataclass(frozen=True)
class Settings:
    """What the user may change."""

    n: int = 10_000_000  # where a countdown starts
    seconds: float = 0.3  # of a sleep
    threads: int = 2
    switch_interval: float = 0.005
    rounds: int = 0  # 0: as many as the experiment wants
    jython: str = ""


@dataclass
class Opened:
    """The ways that can be measured here, each a call that takes one turn; and why not others."""

    ways: dict[str, Callable[[], Sequence[float]]]
    absent: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """One row of the lab."""

    name: str
    title: str
    article: str
    saw: str  # in words
    saw_seconds: Mapping[str, Sequence[float]]  # way -> the article's figures, for the picture
    teaches: str  # two sentences
    measures: str  # the axis: what one sample is
    unit: str  # "s", "1/s", "B" or ""
    source: Sequence[Callable[..., Any] | str]  # what is shown; text as it is
    open: Callable[[Settings], AbstractContextManager[Opened]]
    claims: Callable[[Samples, Settings], Sequence[Claim]]
    rounds: int = 5
    cpus: int = 2  # that it cannot do without
    computes_on: int = 2  # so many of them at once; a sleeper needs another, but hardly uses it
    # Where ways measure different things: how their names begin -> (measures, unit).
    quantities: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def quantity(self, way: str) -> tuple[str, str]:
        """What a sample of this way is, and its unit."""
        for beginning, quantity in self.quantities.items():
            if way.startswith(beginning):
                return quantity
        return self.measures, self.unit


@dataclass(frozen=True)
class Result:
    """What came of one experiment: values only, so that it can be saved, loaded and drawn."""

    name: str
    title: str
    article: str
    saw: str
    saw_seconds: dict[str, list[float]]
    teaches: str
    quantities: dict[str, tuple[str, str]]  # way -> what a sample is, and its unit
    source: str
    samples: dict[str, list[list[float]]]
    absent: dict[str, str]
    conditions: Conditions
    verdict: Verdict
    took_s: float

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        from owngil._report.lab import result_html

        return result_html(self)

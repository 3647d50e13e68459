# SPDX-License-Identifier: BSD-3-Clause
"""Samples into figures: percentiles of all samples, ratios taken round by round."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

Samples = dict[str, list[float]]  # metric -> what one turn measured

_MOST_KEPT = 2000


@dataclass(frozen=True)
class Metric:
    """A quantity: `latency` has many samples a turn, `rate` and `amount` have one."""

    name: str
    kind: Literal["latency", "rate", "amount"]
    unit: str
    scale: float = 1.0  # samples are in SI units; the table shows sample * scale


@dataclass(frozen=True)
class Goal:
    """A bound that the project has set itself, checked after a run and never in a test.

    kind      holds when
    at most   statistic of `contender` <= limit (in the metric's shown unit)
    at least  statistic of `contender` >= limit (in the metric's shown unit)
    better    `contender` is >= limit times better than `against`
    within    `contender` costs <= limit times what `against` does
    above     statistic of `contender` - that of `against` <= limit (in the shown unit)
    """

    metric: str
    kind: Literal["at most", "at least", "better", "within", "above"]
    limit: float
    against: str = ""
    statistic: str = "p50"
    contender: str = "owngil"
    against_metric: str = ""  # default: `metric`


@dataclass
class Figures:
    """All samples of one question: contender -> metric -> a list of samples for each round."""

    rounds: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)

    def add(self, contender: str, samples: Samples) -> None:
        """Take up what one turn measured."""
        metrics = self.rounds.setdefault(contender, {})
        for name, values in samples.items():
            metrics.setdefault(name, []).append(values)

    def has(self, contender: str, metric: str) -> bool:
        """Whether anything was measured."""
        return bool(self.rounds.get(contender, {}).get(metric))

    def statistic(self, contender: str, metric: str, name: str) -> float:
        """p50, p90, p99, min or max over the samples of all rounds."""
        values = sorted(v for one in self.rounds[contender][metric] for v in one)
        if name == "p50":
            return median(values)
        if name in ("min", "max"):
            return values[0 if name == "min" else -1]
        return values[min(len(values) - 1, int(len(values) * float(name[1:]) / 100))]

    def cost(self, contender: str, metric: Metric, against: str, against_metric: str = "") -> float:
        """How many times `against` this costs: the median over rounds of the ratio in a round."""
        mine = self.rounds[contender][metric.name]
        theirs = self.rounds[against][against_metric or metric.name]
        ratios = []
        for one, other in zip(mine, theirs, strict=False):
            a, b = median(one), median(other)
            if metric.kind == "rate":
                a, b = b, a
            ratios.append(a / b if b else float("inf"))
        return median(ratios)


def thinned(values: Sequence[float]) -> list[float]:
    """At most 2,000 samples with the same distribution, the extremes kept."""
    if len(values) <= _MOST_KEPT:
        return list(values)
    ordered = sorted(values)
    step = (len(ordered) - 1) / (_MOST_KEPT - 1)
    return [ordered[round(i * step)] for i in range(_MOST_KEPT)]

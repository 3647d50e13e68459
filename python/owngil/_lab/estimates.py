# SPDX-License-Identifier: BSD-3-Clause
"""Samples into figures that say how sure they are: a median and the interval that it lies in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Estimate", "estimate", "outliers", "ratios"]

_WANTED = 0.95


@dataclass(frozen=True)
class Estimate:
    """A median, and the two samples between which the true one lies with `confidence`."""

    median: float
    low: float
    high: float
    confidence: float
    count: int

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"

    @property
    def width(self) -> float:
        """Of the interval, as a share of the median."""
        return (self.high - self.low) / abs(self.median) if self.median else math.inf


def estimate(samples: Sequence[float]) -> Estimate:
    """The median of independent samples.

    The interval is that of order statistics: it assumes nothing of the distribution. Below six
    samples not even the extremes give 95 %; then it is the extremes, with the confidence they have.
    """
    ordered = sorted(samples)
    count = len(ordered)
    if not count:
        raise ValueError("an estimate needs a sample")
    rank = 0
    while rank + 1 < (count + 1) // 2 and _confidence(count, rank + 1) >= _WANTED:
        rank += 1
    return Estimate(
        median(ordered),
        ordered[rank],
        ordered[count - 1 - rank],
        _confidence(count, rank),
        count,
    )


def _confidence(count: int, rank: int) -> float:
    """That the true median lies between the sample of this rank and its mirror image."""
    tail = sum(math.comb(count, below) for below in range(rank + 1)) / 2.0**count
    return max(0.0, 1 - 2 * tail)


def ratios(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> list[float]:
    """One over the other, round by round: what disturbs a round disturbs both alike."""
    return [
        median(a) / median(b) for a, b in zip(one, other, strict=False) if a and b and median(b) > 0
    ]


def outliers(samples: Sequence[float]) -> list[float]:
    """Those further than three (scaled) median deviations from the median; they stay in it."""
    if len(samples) < 4:
        return []
    middle = median(samples)
    deviation = 1.4826 * median([abs(sample - middle) for sample in samples])
    return [sample for sample in samples if abs(sample - middle) > 3 * deviation > 0]

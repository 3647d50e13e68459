# SPDX-License-Identifier: BSD-3-Clause
"""Amdahl's law and the Universal Scalability Law, fitted to speed-ups, and how far to trust them.

Both are linear in their parameters after a change of variables, so a fit is a closed formula; it is
done for each round, so that a parameter has an interval as any other figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from owngil._lab.estimates import Estimate, estimate

__all__ = ["Amdahl", "Usl", "amdahl", "amdahl_speed_up", "usl", "usl_speed_up"]

Speeds = Mapping[int, float]  # workers -> speed-up over one worker


@dataclass(frozen=True)
class Amdahl:
    """speed-up(w) = 1 / (s + (1 - s) / w)."""

    serial_share: Estimate
    trust: str

    def predict(self, workers: int) -> Estimate:
        """The speed-up with so many workers, with the interval that the serial share leaves."""
        s = self.serial_share
        return Estimate(
            amdahl_speed_up(s.median, workers),
            amdahl_speed_up(s.high, workers),
            amdahl_speed_up(s.low, workers),
            s.confidence,
            s.count,
        )


@dataclass(frozen=True)
class Usl:
    """speed-up(w) = w / (1 + contention (w - 1) + coherence w (w - 1))."""

    contention: Estimate
    coherence: Estimate
    trust: str

    def predict(self, workers: int) -> float:
        """The speed-up with so many workers."""
        return usl_speed_up(self.contention.median, self.coherence.median, workers)

    @property
    def peak(self) -> float | None:
        """How many workers are the most that is worth it; None: more are always better."""
        if self.coherence.median <= 0:
            return None
        return max(1.0, math.sqrt(max(0.0, 1 - self.contention.median) / self.coherence.median))


def amdahl_speed_up(serial_share: float, workers: int) -> float:
    """By Amdahl's law."""
    return 1 / (serial_share + (1 - serial_share) / workers)


def usl_speed_up(contention: float, coherence: float, workers: int) -> float:
    """By the Universal Scalability Law."""
    return workers / (1 + contention * (workers - 1) + coherence * workers * (workers - 1))


def amdahl(rounds: Sequence[Speeds], cpus: int) -> Amdahl | str:
    """The fit, or why there is none."""
    shares = [share for speeds in rounds if (share := _serial_share(speeds)) is not None]
    if not shares:
        return "Amdahl's law needs a measurement with 2 workers or more"
    most = max(max(speeds) for speeds in rounds)
    return Amdahl(estimate(shares), _trust(rounds, most, cpus, parameters=1))


def usl(rounds: Sequence[Speeds], cpus: int) -> Usl | str:
    """The fit, or why there is none."""
    counts = sorted({workers for speeds in rounds for workers in speeds if workers > 1})
    if len(counts) < 2:
        return (
            "the USL has two parameters, so it needs measurements with two numbers of workers "
            f"above 1; here there {'is' if len(counts) == 1 else 'are'} {len(counts)}"
        )
    fits = [_usl_parameters(speeds) for speeds in rounds]
    return Usl(
        estimate([one for one, _ in fits]),
        estimate([other for _, other in fits]),
        _trust(rounds, counts[-1], cpus, parameters=2),
    )


def _serial_share(speeds: Speeds) -> float | None:
    # 1/S - 1/w = s (1 - 1/w): one parameter, least squares.
    above = squares = 0.0
    for workers, speed in speeds.items():
        if workers > 1 and speed > 0:
            free = 1 - 1 / workers
            above += (1 / speed - 1 / workers) * free
            squares += free * free
    return min(1.0, max(0.0, above / squares)) if squares else None


def _usl_parameters(speeds: Speeds) -> tuple[float, float]:
    # w/S - 1 = a (w - 1) + b w (w - 1): two parameters, least squares, neither below 0.
    aa = ab = bb = ay = by = 0.0
    for workers, speed in speeds.items():
        if workers > 1 and speed > 0:
            a, b = workers - 1.0, workers * (workers - 1.0)
            y = workers / speed - 1
            aa, ab, bb = aa + a * a, ab + a * b, bb + b * b
            ay, by = ay + a * y, by + b * y
    determinant = aa * bb - ab * ab
    if determinant <= 0:
        return max(0.0, ay / aa) if aa else 0.0, 0.0
    contention = (ay * bb - by * ab) / determinant
    coherence = (by * aa - ay * ab) / determinant
    if coherence < 0:
        return max(0.0, ay / aa), 0.0
    if contention < 0:
        return 0.0, max(0.0, by / bb)
    return contention, coherence


def _trust(rounds: Sequence[Speeds], most: int, cpus: int, parameters: int) -> str:
    points = len({workers for speeds in rounds for workers in speeds if workers > 1})
    spare = points - parameters
    if most > cpus:
        return f"little: {most} workers were measured on {cpus} CPUs, so they waited for each other"
    if spare <= 0:
        return (
            f"little: {points} number{'s' * (points != 1)} of workers above 1 and {parameters} "
            f"parameter{'s' * (parameters != 1)}, so nothing shows whether the law fits; "
            f"do not look beyond {2 * most} workers"
        )
    return f"up to about {4 * most} workers, if memory and caches do not run out before"

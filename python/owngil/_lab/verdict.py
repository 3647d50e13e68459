# SPDX-License-Identifier: BSD-3-Clause
"""From figures to a verdict on the shape: it holds, it does not hold, or nobody can say.

Pure functions of recorded samples: a run, a test and a saved file are judged alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .estimates import Estimate, estimate

__all__ = ["DOES_NOT_HOLD", "HOLDS", "NO_VERDICT", "Claim", "Conditions", "Verdict", "judge"]

HOLDS = "holds"
DOES_NOT_HOLD = "does not hold"
NO_VERDICT = "no verdict"

# Below this share of the CPUs for a calibrating loop, others are at work here.
QUIET_SHARE = 0.85
# A calibrating loop of a fixed length may vary so much between rounds.
STEADY_SPREAD = 0.15
# A thread that sleeps beside such loops, which hold no GIL, may wake so late.
PROMPT_S = 0.001


@dataclass(frozen=True)
class Conditions:
    """Of a run. `share`: what a loop on each CPU that the experiment computes on got of it;
    `spread`: how its time varied; `late`: how late a thread woke on the CPUs that were left.
    """

    cpus: int
    share: float
    spread: float
    late: float = 0.0
    set_aside: int = 0  # rounds in which others were at work, and which do not count

    def note(self) -> str:
        """What a reader must know of the rounds; empty if all count."""
        if not self.set_aside:
            return ""
        return f"{self.set_aside} more rounds were disturbed by others here and do not count."

    def objection(self, cpus_needed: int) -> str:
        """Why no verdict may be given here; empty if one may."""
        if self.cpus < cpus_needed:
            return f"this needs {cpus_needed} CPUs, and this process may use {self.cpus}"
        if self.share < QUIET_SHARE:
            return (
                f"the machine is too busy: loops that only count got {self.share:.0%} of the "
                f"CPUs that this needs, {QUIET_SHARE:.0%} must be; try again when it is quiet"
            )
        if self.late > PROMPT_S:
            return (
                f"the machine is too busy: a thread wakes {self.late * 1000:.2g} ms late though "
                f"nobody holds the GIL, {PROMPT_S * 1000:g} ms may be; try again when it is quiet"
            )
        if self.spread > STEADY_SPREAD:
            return (
                f"the machine is too noisy: the same loop took {self.spread:.0%} more or less "
                f"from round to round, {STEADY_SPREAD:.0%} may be; try again"
            )
        return ""


@dataclass(frozen=True)
class Claim:
    """That a quantity lies between two bounds."""

    text: str
    samples: Sequence[float]  # one a round
    at_least: float = -math.inf
    at_most: float = math.inf
    unit: str = ""  # "s": shown in milliseconds; otherwise as it is

    def estimate(self) -> Estimate:
        """The quantity."""
        return estimate(self.samples)

    def state(self) -> str:
        """Decided by the whole interval: one that crosses a bound decides nothing."""
        if not self.samples:
            return NO_VERDICT
        found = self.estimate()
        if self.at_least <= found.low and found.high <= self.at_most:
            return HOLDS
        if found.high < self.at_least or found.low > self.at_most:
            return DOES_NOT_HOLD
        return NO_VERDICT

    def sentence(self) -> str:
        """The claim with its numbers."""
        if not self.samples:
            return f"{self.text}: not measured"
        found = self.estimate()
        said = f"{self._shown(found.median)} ({self._shown(found.low)} to "
        return f"{self.text}: {said}{self._shown(found.high)}), wanted {self._wanted()}"

    def _wanted(self) -> str:
        if self.at_least == -math.inf:
            return f"at most {self._shown(self.at_most)}"
        if self.at_most == math.inf:
            return f"at least {self._shown(self.at_least)}"
        return f"{self._shown(self.at_least)} to {self._shown(self.at_most)}"

    def _shown(self, value: float) -> str:
        if self.unit == "s":
            return f"{value * 1000:.3g} ms" if abs(value) < 0.9995 else f"{value:.3g} s"
        return f"{value:.3g}{self.unit}"


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one experiment."""

    state: str
    numbers: tuple[str, ...]  # a sentence for each claim
    objection: str = ""


def judge(claims: Sequence[Claim], conditions: Conditions, cpus_needed: int = 2) -> Verdict:
    """One verdict of all claims: one that fails is enough, one that is open leaves it open."""
    numbers = tuple(claim.sentence() for claim in claims)
    if not any(claim.samples for claim in claims):
        return Verdict(NO_VERDICT, numbers, "what decides could not be measured here")
    if objection := conditions.objection(cpus_needed):
        return Verdict(NO_VERDICT, numbers, objection)
    states = [claim.state() for claim in claims]
    if DOES_NOT_HOLD in states:
        return Verdict(DOES_NOT_HOLD, numbers)
    if NO_VERDICT in states:
        open_ = [claim.text for claim, state in zip(claims, states, strict=True) if state != HOLDS]
        return Verdict(NO_VERDICT, numbers, f"the figures do not decide ({'; '.join(open_)})")
    return Verdict(HOLDS, numbers)

# SPDX-License-Identifier: BSD-3-Clause
"""Who else is at work on this machine, round by round, while something is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median

from owngil._cpus import usable_cpus

from .verdict import Conditions

__all__ = ["Calibration", "Round"]

_TURN_S = 0.02
_NAP_S = 0.002


@dataclass
class Round:
    """What was seen in one round."""

    shares: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    def conditions(self, cpus: int) -> Conditions:
        """Of this round alone; a disturbance counts as long as it lasts."""
        return Conditions(
            cpus,
            fmean(self.shares) if self.shares else 1.0,
            0.0,
            median(self.late) if self.late else 0.0,
        )


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
        self.rounds: list[Round] = []
        steps = 1 << 16
        while (seconds := self._seconds(steps)) < _TURN_S / 4:
            steps *= 2
        self._steps = int(steps * _TURN_S / seconds)

    def begin_round(self) -> None:
        """What is taken from now on belongs to the next round."""
        self.rounds.append(Round())

    def take(self) -> None:
        """One turn."""
        seen = self.rounds[-1]
        own: list[tuple[float, float]] = []

        def loop() -> None:
            cpu, began = time.thread_time(), time.perf_counter()
            self._count(self._steps)
            own.append((time.thread_time() - cpu, time.perf_counter() - began))

        threads = [threading.Thread(target=loop) for _ in range(self._loops)]
        for thread in threads:
            thread.start()
        end = time.perf_counter() + _TURN_S
        while self._loops < self._cpus and time.perf_counter() < end:
            due = time.perf_counter() + _NAP_S
            time.sleep(_NAP_S)
            seen.late.append(time.perf_counter() - due)
        for thread in threads:
            thread.join()
        if own:
            seen.shares.append(sum(cpu for cpu, _ in own) / sum(wall for _, wall in own))
            seen.times.append(median(cpu for cpu, _ in own))

    def quiet(self) -> list[int]:
        """The numbers of the rounds in which nobody else was much at work."""
        return [
            number
            for number, one in enumerate(self.rounds)
            if not one.conditions(self._cpus).objection(1)
        ]

    def kept(self, least: int) -> list[int]:
        """The quiet rounds; all of them if fewer than `least` are quiet."""
        quiet = self.quiet()
        return quiet if len(quiet) >= least else list(range(len(self.rounds)))

    def conditions(self, numbers: Sequence[int]) -> Conditions:
        """Of these rounds; the others were set aside."""
        rounds = [self.rounds[number] for number in numbers]
        times = [seconds for one in rounds for seconds in one.times]
        late = [seconds for one in rounds for seconds in one.late]
        shares = [share for one in rounds for share in one.shares]
        found = Conditions(self._cpus, 1.0, 0.0, median(late) if late else 0.0)
        found = replace(found, set_aside=len(self.rounds) - len(rounds))
        if not times:
            return found
        middle = median(times)
        spread = median(abs(seconds - middle) for seconds in times) / middle
        return replace(found, share=median(shares), spread=spread)

    def _seconds(self, steps: int) -> float:
        began = time.perf_counter()
        self._count(steps)
        return time.perf_counter() - began

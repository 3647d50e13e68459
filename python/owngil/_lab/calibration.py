# SPDX-License-Identifier: BSD-3-Clause
"""Who else is at work on this machine, round by round, while something is measured."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median

from owngil._cpus import usable_cpus

from .verdict import Conditions

__all__ = ["Calibration", "Round", "fair_share"]

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


def fair_share(loops: int, cpus: int, running: int) -> float:
    """Of a CPU, for each of these loops, if so many threads want to run, the loops among them."""
    return min(1.0, cpus / max(1, running, loops))


def _running() -> int:
    """How many threads of this machine run or want to, the one that asks included."""
    with open("/proc/loadavg", encoding="ascii") as file:
        return int(file.read().split()[3].partition("/")[0])


class Calibration:
    """Loops without the GIL, on as many CPUs at once as what is measured computes on (0: it only
    waits): who else is at work here shows in their share. If CPUs are left, a thread sleeps beside
    them, again and again: how late it wakes though nobody holds the GIL is the machine's doing.

    A scheduler lets who has just slept go first, so a short loop may have a CPU to itself where a
    long computation has half of one. Hence the share is at most what is fair among all that want
    to run at that moment, which the kernel counts.
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
        fair: list[float] = []
        end = time.perf_counter() + _TURN_S
        while time.perf_counter() < end:
            if all(thread.is_alive() for thread in threads):
                fair.append(fair_share(self._loops, os.cpu_count() or 1, _running() - 1))
            due = time.perf_counter() + _NAP_S
            time.sleep(_NAP_S)
            if self._loops < self._cpus:
                seen.late.append(time.perf_counter() - due)
        for thread in threads:
            thread.join()
        if own:
            got = sum(cpu for cpu, _ in own) / sum(wall for _, wall in own)
            seen.shares.append(min(got, fmean(fair or [1.0])))
            seen.times.append(median(cpu for cpu, _ in own))

    def quiet(self) -> list[int]:
        """The numbers of the rounds in which nobody else was much at work."""
        return [
            number
            for number, one in enumerate(self.rounds)
            if not one.conditions(self._cpus).objection(1)
        ]

    def kept(self, least: int) -> list[int]:
        """The quiet rounds; all of them if fewer than `least`, or than half of them, are quiet: a
        machine that is mostly busy may be so in a round that seemed quiet, too.
        """
        quiet, count = self.quiet(), len(self.rounds)
        return quiet if len(quiet) >= max(least, count / 2) else list(range(count))

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

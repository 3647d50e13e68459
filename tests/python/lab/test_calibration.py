# SPDX-License-Identifier: BSD-3-Clause
"""Which rounds count: told by what others did to the machine meanwhile, never by the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from owngil._lab import runner
from owngil._lab.calibration import Calibration, Round, fair_share
from owngil._lab.experiment import Experiment, Opened, Settings
from owngil._lab.verdict import Claim

QUIET = Round([1.0, 0.97], [0.02, 0.021], [0.0001])
BUSY = Round([0.9, 0.4], [0.02, 0.02], [0.0001])
LATE = Round([1.0, 1.0], [0.02, 0.02], [0.004, 0.005])


def calibrated(*rounds: Round) -> Calibration:
    calibration = Calibration(1)
    calibration.rounds = list(rounds)
    return calibration


def test_a_round_counts_if_nobody_else_computed_or_kept_sleepers_waiting() -> None:
    calibration = calibrated(QUIET, BUSY, QUIET, LATE)
    assert calibration.quiet() == [0, 2]
    assert calibration.kept(2) == [0, 2]
    assert calibration.kept(3) == [0, 1, 2, 3]  # too few to set the others aside
    mostly_busy = calibrated(QUIET, BUSY, BUSY, QUIET, BUSY)
    assert mostly_busy.kept(2) == [0, 1, 2, 3, 4]
    few = calibration.conditions([0, 2])
    assert (few.share, few.set_aside) == (pytest.approx(0.985), 2)
    assert few.note() == "2 more rounds were disturbed by others here and do not count."
    assert not few.objection(1)
    assert calibration.conditions([0, 1, 2, 3]).note() == ""


def test_a_share_is_at_most_what_is_fair_among_all_that_want_to_run() -> None:
    assert fair_share(loops=2, cpus=2, running=2) == 1.0
    assert fair_share(loops=2, cpus=2, running=3) == pytest.approx(2 / 3)
    assert fair_share(loops=1, cpus=2, running=2) == 1.0  # who else runs has the other CPU
    assert fair_share(loops=2, cpus=64, running=40) == 1.0
    assert fair_share(loops=4, cpus=2, running=0) == 0.5


def test_a_calibration_takes_a_turn_on_as_many_cpus_as_are_computed_on() -> None:
    waits, computes = Calibration(0), Calibration()
    for calibration in (waits, computes):
        calibration.begin_round()
        calibration.take()
    assert not waits.rounds[0].shares
    assert waits.rounds[0].late
    assert 0 < computes.rounds[0].shares[0] <= 1.01
    assert len(computes.rounds[0].times) == 1
    assert not computes.rounds[0].late  # no CPU was left


@pytest.mark.parametrize(
    ("seen", "measured", "counted", "set_aside"),
    [
        ([QUIET] * 9, 4, [0, 1, 2, 3], 0),
        ([QUIET, BUSY, QUIET, QUIET, QUIET, QUIET], 5, [0, 2, 3, 4], 1),
        ([BUSY] * 9, 4, [0, 1, 2, 3], 0),  # hopeless: not repeated, and all are shown
        ([QUIET, BUSY] * 4, 7, [0, 2, 4, 6], 3),
        ([QUIET, BUSY, BUSY, BUSY] * 2, 8, [0, 1, 2, 3, 4, 5, 6, 7], 0),
    ],
)
def test_disturbed_rounds_are_repeated_while_that_helps(
    monkeypatch: pytest.MonkeyPatch,
    seen: Sequence[Round],
    measured: int,
    counted: list[float],
    set_aside: int,
) -> None:
    class Played(Calibration):
        def begin_round(self) -> None:
            self.rounds.append(seen[len(self.rounds)])

        def take(self) -> None:
            pass

    monkeypatch.setattr(runner, "Calibration", Played)
    taken: list[float] = []

    def turn() -> Sequence[float]:
        taken.append(len(taken))
        return taken[-1:]

    @contextmanager
    def opened(settings: Settings) -> Iterator[Opened]:
        yield Opened({"a way": turn})

    experiment = Experiment(
        *("name", "title", "article", "saw", {}, "teaches", "measures", "", []),
        open=opened,
        claims=lambda samples, settings: [Claim("it is", [1.0], at_least=0.0)],
        rounds=4,
    )
    result = runner.run(experiment, Settings())
    assert len(taken) == measured
    assert result.samples["a way"] == [[number] for number in counted]
    assert result.conditions.set_aside == set_aside

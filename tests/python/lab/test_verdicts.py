# SPDX-License-Identifier: BSD-3-Clause
"""The lab's verdicts on recorded figures: good, bad, noisy, and of a machine that is too small."""

from __future__ import annotations

import pytest
import recorded

from owngil._lab.catalogue import EXPERIMENTS
from owngil._lab.estimates import estimate, outliers, ratios
from owngil._lab.experiment import Settings
from owngil._lab.taking_turns import Hold, largest_share, out_of_turn
from owngil._lab.verdict import (
    DOES_NOT_HOLD,
    HOLDS,
    NO_VERDICT,
    Claim,
    Conditions,
    Verdict,
    judge,
)

QUIET = Conditions(cpus=2, share=0.99, spread=0.01)


def verdict_on(name: str, samples: dict[str, recorded.Rounds]) -> Verdict:
    claims = EXPERIMENTS[name].claims(samples, Settings())
    return judge(claims, QUIET, EXPERIMENTS[name].cpus)


def test_every_experiment_has_recorded_figures() -> None:
    assert recorded.GOOD.keys() == recorded.BAD.keys() == EXPERIMENTS.keys()


@pytest.mark.parametrize("name", recorded.GOOD)
def test_the_shape_holds_on_good_figures(name: str) -> None:
    verdict = verdict_on(name, recorded.GOOD[name])
    assert verdict.state == HOLDS, verdict
    assert verdict.numbers


@pytest.mark.parametrize("name", recorded.BAD)
def test_the_shape_does_not_hold_on_bad_figures(name: str) -> None:
    verdict = verdict_on(name, recorded.GOOD[name] | recorded.BAD[name])
    assert verdict.state == DOES_NOT_HOLD, verdict


@pytest.mark.parametrize("name", recorded.GOOD)
def test_where_nothing_was_measured_there_is_no_verdict(name: str) -> None:
    samples: dict[str, recorded.Rounds] = {way: [] for way in recorded.GOOD[name]}
    verdict = verdict_on(name, samples)
    assert verdict.state == NO_VERDICT
    assert verdict.objection == "what decides could not be measured here"


def test_a_pool_of_interpreters_is_held_to_the_same_as_one_of_processes() -> None:
    late = {"in a pool, kind=interpreter": recorded.rounds(1.7, 1.7, 1.7)}
    for name in ("io-vs-python", "io-vs-numpy", "io-vs-extension-holding", "asyncio"):
        assert verdict_on(name, recorded.GOOD[name] | late).state == DOES_NOT_HOLD


def test_an_interval_that_crosses_the_bound_decides_nothing() -> None:
    claim = Claim("it is small", [0.9, 1.0, 1.2], at_most=1.1)
    assert claim.state() == NO_VERDICT
    verdict = judge([claim], QUIET)
    assert verdict.state == NO_VERDICT
    assert "it is small" in verdict.objection


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        (Conditions(cpus=1, share=1.0, spread=0.0), "needs 2 CPUs"),
        (Conditions(cpus=2, share=0.5, spread=0.0), "too busy"),
        (Conditions(cpus=2, share=1.0, spread=0.4), "too noisy"),
        (Conditions(cpus=2, share=1.0, spread=0.0, late=0.004), "wakes 4 ms late"),
    ],
)
def test_a_machine_that_is_not_fit_gives_no_verdict(conditions: Conditions, reason: str) -> None:
    for samples in ([0.5, 0.5], [2.0, 2.0]):
        verdict = judge([Claim("it is small", samples, at_most=1)], conditions)
        assert verdict.state == NO_VERDICT
        assert reason in verdict.objection
        assert verdict.numbers  # they are shown nonetheless


def test_a_claim_says_what_it_wanted_and_what_it_found() -> None:
    claim = Claim("it wakes", [0.001, 0.002, 0.003], at_most=0.005, unit="s")
    assert claim.sentence() == "it wakes: 2 ms (1 ms to 3 ms), wanted at most 5 ms"
    assert Claim("ratio", [2.0], 1, 3, "x").sentence() == "ratio: 2x (2x to 2x), wanted 1x to 3x"
    assert Claim("ratio", []).sentence() == "ratio: not measured"


def test_an_estimate_is_an_interval_of_order_statistics() -> None:
    few = estimate([3.0, 1.0, 2.0])
    assert (few.median, few.low, few.high) == (2.0, 1.0, 3.0)
    assert few.confidence == 0.75
    many = estimate([float(i) for i in range(1, 21)])
    assert (many.low, many.high) == (6.0, 15.0)  # ranks 6 and 15 of 20: 95.9 %
    assert many.confidence == pytest.approx(0.9586, abs=1e-4)
    with pytest.raises(ValueError, match="needs a sample"):
        estimate([])


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([[2.0], [4.0, 4.0]], [[1.0], [2.0]]) == [2.0, 2.0]
    assert ratios([[1.0], []], [[2.0], [2.0]]) == [0.5]


def test_outliers_are_those_far_from_the_median() -> None:
    assert outliers([1.0, 1.1, 0.9, 1.0, 50.0]) == [50.0]
    assert outliers([1.0, 1.0, 1.0, 1.0]) == []


def test_switches_that_skip_who_waited_longest_are_counted() -> None:
    def holds(*order: int) -> list[Hold]:
        return [(thread, float(at), at + 1.0) for at, thread in enumerate(order)]

    assert out_of_turn(holds(0, 1, 2, 0, 1, 2, 0)) == 0
    assert out_of_turn(holds(0, 1, 2, 1, 0)) == 0.5  # 1 skips 0, which then has its turn
    assert out_of_turn(holds(0, 1)) == 0
    assert largest_share(holds(0, 1, 0, 0)) == 0.75

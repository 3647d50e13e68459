# SPDX-License-Identifier: BSD-3-Clause
"""Two runs side by side: what has become slower, beyond the noise and beyond what the machine did.

Pure: saved records in, findings out. A finding is a regression if its interval has left the old
one by more than a few percent for the worse, and the peers, which did not change, do not
explain it: where they became slower by as much, it was the machine. What was counted (tasks that
are right or left hanging) has no noise: any change for the worse is a regression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from owngil._lab.estimates import Estimate, estimate

__all__ = ["BETTER", "REGRESSION", "SAME", "UNKNOWN", "Finding", "compared", "differences"]

REGRESSION = "regression"
BETTER = "better"
SAME = "within noise"
UNKNOWN = "too few rounds"

_LEAST = 1.05
_LEAST_ROUNDS = 3
_OURS = "owngil"


@dataclass(frozen=True)
class Finding:
    """One metric of one contender; `cost` is how many times the old one it takes."""

    bench: str
    variant: str
    contender: str
    metric: str
    unit: str
    scale: float
    old: Estimate
    new: Estimate
    cost: float
    peers: float | None  # the same of the peers; None if none were measured in both runs
    state: str

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.bench} {self.variant}, {self.metric}"


def compared(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Finding]:
    """Of all that both runs have measured, owngil's own; each with its peers."""
    before, after = dict(_figures(old)), dict(_figures(new))
    metrics = {**_metrics(old), **_metrics(new)}
    ours = {
        (bench, variant): result.get("ours")
        for bench, record in new["benches"].items()
        for variant, result in record["variants"].items()
    }

    def is_ours(key: Key) -> bool:
        named = ours[key[:2]]
        return key[2] in named if named else key[2].startswith(_OURS)

    findings = list(_counted(old, new))
    for key, rounds in after.items():
        bench, variant, contender, metric = key
        about = metrics.get((bench, variant, metric))
        if not is_ours(key) or key not in before or about is None:
            continue
        peers = [
            _cost(before[other], after[other], about["kind"])
            for other in after
            if other in before
            and other[:2] == key[:2]
            and other[3] == metric
            and not is_ours(other)
        ]
        machine = median(peers) if peers else None
        mine, theirs = estimate(before[key]), estimate(rounds)
        cost = _cost(before[key], rounds, about["kind"])
        state = _state(mine, theirs, cost, machine)
        findings.append(
            Finding(
                bench, variant, contender, metric, about["unit"], about["scale"],
                mine, theirs, cost, machine, state,
            )
        )  # fmt: skip
    return findings


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Why the two runs may not be comparable at all."""
    found = []
    for what in ("cpu", "cpus_used", "kernel", "python"):
        values = [
            {str(record["machine"].get(what)) for record in run["benches"].values()}
            for run in (old, new)
        ]
        if values[0] != values[1]:
            texts = " and ".join(", ".join(sorted(one)) for one in values)
            found.append(f"{what} differs: {texts}")
    return found


def _state(old: Estimate, new: Estimate, cost: float, machine: float | None) -> str:
    if min(old.count, new.count) < _LEAST_ROUNDS:
        return UNKNOWN
    apart = new.low > old.high or new.high < old.low
    beyond_machine = cost / machine if machine else cost
    if apart and cost > _LEAST and beyond_machine > _LEAST:
        return REGRESSION
    if apart and cost < 1 / _LEAST and beyond_machine < 1 / _LEAST:
        return BETTER
    return SAME


def _counted(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Finding]:
    """Tasks that are right (more is better) and left hanging (fewer is)."""
    for bench, record in new["benches"].items():
        for variant, result in record["variants"].items():
            try:
                before = old["benches"][bench]["variants"][variant]["contenders"][_OURS]["tasks"]
                after = result["contenders"][_OURS]["tasks"]
            except KeyError:
                continue
            for metric, better in (("ok", 1), ("hang", -1)):
                was, now = float(before[metric]), float(after[metric])
                gain = (now - was) * better
                state = SAME if not gain else BETTER if gain > 0 else REGRESSION
                worse, best = (was, now) if better > 0 else (now, was)
                cost = worse / best if best else 1.0 + worse
                yield Finding(
                    bench, variant, _OURS, metric, "tasks", 1.0,
                    estimate([was]), estimate([now]), cost, None, state,
                )  # fmt: skip


def _cost(old: list[float], new: list[float], kind: str) -> float:
    before, after = median(old), median(new)
    if kind == "rate":
        before, after = after, before
    return after / before if before else 1.0


Key = tuple[str, str, str, str]


def _figures(run: Mapping[str, Any]) -> Iterator[tuple[Key, list[float]]]:
    for bench, record in run["benches"].items():
        for variant, result in record["variants"].items():
            for contender, by_metric in result["contenders"].items():
                for metric, figures in by_metric.items():
                    if metric in result.get("metrics", {}) and figures.get("round_medians"):
                        yield (bench, variant, contender, metric), figures["round_medians"]


def _metrics(run: Mapping[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {
        (bench, variant, name): about
        for bench, record in run["benches"].items()
        for variant, result in record["variants"].items()
        for name, about in result.get("metrics", {}).items()
    }

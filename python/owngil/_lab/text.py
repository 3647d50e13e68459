# SPDX-License-Identifier: BSD-3-Clause
"""Results for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from statistics import median

from owngil._cli.table import bar, render
from owngil._report.quantity import shown

from .estimates import estimate, outliers
from .experiment import Experiment, Result

__all__ = ["listing", "summary", "told"]


def listing(experiments: dict[str, Experiment]) -> str:
    """What there is."""
    width = max(map(len, experiments))
    lines = [f"  {name:<{width}}  {one.title}" for name, one in experiments.items()]
    return "\n".join(["The experiments:", "", *lines, "", "Run some: owngil lab NAME…, or all."])


def told(result: Result, source: bool = True) -> str:
    """Everything of one experiment."""
    parts = [
        f"== {result.name}: {result.title}",
        f"From “{result.article}”.",
    ]
    if source:
        parts.append(textwrap.indent(result.source, "    "))
    parts.append(f"The article saw: {result.saw}.")
    parts.append(_table(result))
    parts += [f"  absent   {way}: {reason}" for way, reason in result.absent.items()]
    parts.append(_verdict(result))
    parts.append(textwrap.fill(result.teaches, 96))
    return "\n\n".join(part for part in parts if part)


def _table(result: Result) -> str:
    tables = []
    measured = {way: rounds for way, rounds in result.samples.items() if any(rounds)}
    for quantity in dict.fromkeys(result.quantities[way] for way in measured):
        ways = {
            way: rounds for way, rounds in measured.items() if result.quantities[way] == quantity
        }
        tables.append(_rows(*quantity, ways))
    return "\n\n".join(tables) or "Nothing could be measured here."


def _rows(measures: str, unit: str, ways: Mapping[str, Sequence[Sequence[float]]]) -> str:
    estimates = {
        way: estimate([median(one) for one in rounds if one]) for way, rounds in ways.items()
    }
    longest = max(one.median for one in estimates.values())
    rows = []
    for way, one in estimates.items():
        everything = [sample for samples in ways[way] for sample in samples]
        rows.append(
            [
                way,
                shown(one.median, unit),
                f"{shown(one.low, unit)} to {shown(one.high, unit)}",
                str(len(everything)),
                str(len(outliers(everything)) or ""),
                bar(one.median, longest, 20),
            ]
        )
    confidence = min(one.confidence for one in estimates.values())
    return render(
        [measures, "median", f"{confidence:.0%} interval", "samples", "outliers", ""], rows
    )


def _verdict(result: Result) -> str:
    lines = [f"Verdict: the shape {result.verdict.state}."]
    if result.verdict.objection:
        lines = [f"No verdict: {result.verdict.objection}."]
    note = [f"  ({result.conditions.note()})"] if result.conditions.set_aside else []
    return "\n".join([*lines, *(f"  {number}" for number in result.verdict.numbers), *note])


def summary(results: Sequence[Result]) -> str:
    """One line for each experiment."""
    rows = [
        [result.name, result.verdict.state, f"{result.took_s:.1f} s", result.verdict.objection]
        for result in results
    ]
    return render(["", "the shape", "took", ""], rows)

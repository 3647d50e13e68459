# SPDX-License-Identifier: BSD-3-Clause
"""Results for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from statistics import median

from owngil._cli.table import bar, render

from .estimates import estimate, outliers
from .experiment import Experiment, Result

__all__ = ["listing", "shown", "told"]


def listing(experiments: dict[str, Experiment]) -> str:
    """What there is."""
    width = max(map(len, experiments))
    lines = [f"  {name:<{width}}  {one.title}" for name, one in experiments.items()]
    return "\n".join(["The experiments:", "", *lines, "", "Run some: owngil lab NAME…, or all."])


def shown(value: float, unit: str) -> str:
    """A value with its unit, as a reader wants it."""
    if unit == "s":
        if abs(value) >= 1:
            return f"{value:.3f} s"
        return f"{value * 1e3:.2f} ms" if abs(value) >= 1e-4 else f"{value * 1e6:.0f} µs"
    if unit == "1/s":
        return f"{value:,.0f}/s"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


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
    if not any(any(rounds) for rounds in result.samples.values()):
        return "Nothing could be measured here."
    medians = {
        way: [median(one) for one in rounds if one] for way, rounds in result.samples.items()
    }
    measured = {way: estimate(values) for way, values in medians.items() if values}
    longest = max(one.median for one in measured.values())
    rows = []
    for way, one in measured.items():
        everything = [sample for samples in result.samples[way] for sample in samples]
        rows.append(
            [
                way,
                shown(one.median, _unit(result, way)),
                f"{shown(one.low, _unit(result, way))} to {shown(one.high, _unit(result, way))}",
                str(len(everything)),
                str(len(outliers(everything)) or ""),
                bar(one.median, longest, 20),
            ]
        )
    confidence = min(one.confidence for one in measured.values())
    header = [result.measures, "median", f"{confidence:.0%} interval", "samples", "outliers", ""]
    return render(header, rows)


def _unit(result: Result, way: str) -> str:
    if result.unit or not way.startswith(("countdown", "creation")):
        return result.unit
    return "s"


def _verdict(result: Result) -> str:
    lines = [f"Verdict: the shape {result.verdict.state}."]
    if result.verdict.objection:
        lines = [f"No verdict: {result.verdict.objection}."]
    return "\n".join([*lines, *(f"  {number}" for number in result.verdict.numbers)])


def summary(results: Sequence[Result]) -> str:
    """One line for each experiment."""
    rows = [
        [result.name, result.verdict.state, f"{result.took_s:.1f} s", result.verdict.objection]
        for result in results
    ]
    return render(["", "the shape", "took", ""], rows)

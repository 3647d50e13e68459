# SPDX-License-Identifier: BSD-3-Clause
"""A run of the benchmarks as a page: a picture and a table for each metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from owngil._bench.against import BETTER, REGRESSION, Finding
from owngil._lab.estimates import estimate

from .page import Cell, csv_of, figure, page, paragraph, table
from .quantity import shown
from .svg import Stack, Strip, stacks, strips

__all__ = ["FINDINGS_HEADER", "bench_page", "finding_cells"]

FINDINGS_HEADER = ("", "before", "now", "cost", "peers' cost", "")


def bench_page(run: Mapping[str, Any], findings: Sequence[Finding], notes: Sequence[str]) -> str:
    """The whole report."""
    machine = next(iter(run["benches"].values()))["machine"]
    python = str(machine["python"]).partition(" ")[0]
    about = f"{machine['cpu']}, Linux {machine['kernel']}, Python {python}"
    about += f", commit {machine['commit']}. {run['when']}."
    sections = [
        paragraph(
            "Each contender takes its turn in every round; a dot is the median of one round, the "
            "dark bar the median of the rounds, the broad band the interval that it lies in."
        ),
        *map(paragraph, notes),
    ]
    if findings:
        rows: list[list[Cell]] = []
        for one in findings:
            name, *rest = finding_cells(one)
            rows.append([name, *((text, one.cost) for text in rest[:-1]), rest[-1]])
        sections.append(table(FINDINGS_HEADER, rows))
        for state in (REGRESSION, BETTER):
            count = sum(one.state == state for one in findings)
            sections.append(paragraph(f"{state}: {count} of {len(findings)}."))
    for bench, record in run["benches"].items():
        for variant, result in record["variants"].items():
            sections.append(f"<h2>{escape(bench)}: {escape(variant)}</h2>")
            sections += [
                _metric(result, name, metric) for name, metric in result.get("metrics", {}).items()
            ]
            sections.append(_counts(result))
            sections += [
                paragraph(f"Absent: {name}: {why}.", "dim")
                for name, why in result["absent"].items()
            ]
    return page("owngil and its peers", about, sections)


def finding_cells(one: Finding) -> list[str]:
    """One row of the comparison."""
    return [
        one.name if one.contender == "owngil" else f"{one.name}, {one.contender}",
        _shown(one.old.median, one.scale, one.unit),
        _shown(one.new.median, one.scale, one.unit),
        f"{one.cost:.2f}x",
        f"{one.peers:.2f}x" if one.peers is not None else "-",
        one.state,
    ]


def _metric(result: Mapping[str, Any], name: str, metric: Mapping[str, Any]) -> str:
    rows: list[Strip] = []
    cells: list[list[Cell]] = []
    raw: list[list[object]] = []
    for contender, by_metric in result["contenders"].items():
        medians = by_metric.get(name, {}).get("round_medians")
        if not medians:
            continue
        scaled = [value * metric["scale"] for value in medians]
        one = estimate(scaled)
        rows.append(Strip(contender, scaled, one.median, one.low, one.high))
        figures = by_metric[name]
        cells.append(
            [
                contender,
                *(
                    (_shown(figures[s], metric["scale"], metric["unit"]), figures[s])
                    for s in ("p50", "p90", "p99", "min", "max")
                ),
            ]
        )
        raw += [[contender, number, value] for number, value in enumerate(scaled)]
    if not rows:
        return ""
    header = ["contender", "round", f"{name} [{metric['unit']}]"]
    axis = f"{name}, {metric['unit']}"
    return figure(strips(rows, axis, ""), csv_of(header, raw)) + table(
        ["", "median", "p90", "p99", "least", "most"], cells
    )


_OUTCOMES = (("ok", "right", "c2"), ("failed", "failed", "c1"), ("hang", "left hanging", "c4"))


def _counts(result: Mapping[str, Any]) -> str:
    """What became of the tasks of each contender; nothing where none were counted."""
    counted = {name: one for name, one in result["contenders"].items() if "tasks" in one}
    if not counted:
        return ""
    rows = [
        Stack(name, [(one["tasks"][key], text, colour) for key, text, colour in _OUTCOMES])
        for name, one in counted.items()
    ]
    cells: list[list[Cell]] = [
        [
            name,
            *((str(one["tasks"][key]), float(one["tasks"][key])) for key, _, _ in _OUTCOMES),
            "usable" if one["usable"] else "unusable",
            ", ".join(f"{count} {kind}" for kind, count in one["errors"].items()),
        ]
        for name, one in counted.items()
    ]
    header = ["", *(text for _, text, _ in _OUTCOMES), "the pool afterwards", "errors"]
    raw = [[cell if isinstance(cell, str) else cell[0] for cell in row] for row in cells]
    return figure(stacks(rows, "tasks"), csv_of(header, raw)) + table(header, cells)


def _shown(value: float, scale: float, unit: str) -> str:
    return f"{shown(value * scale, '')} {unit}".strip()

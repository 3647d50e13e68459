# SPDX-License-Identifier: BSD-3-Clause
"""A comparison as sections of a page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from owngil._compare.advice import advise
from owngil._compare.comparison import Comparison
from owngil._compare.models import Amdahl, amdahl
from owngil._compare.text import HEADER, cells, notes, predictions, rounds_of
from owngil._lab.machine import one_line

from .page import Cell, csv_of, figure, fragment, page, paragraph, table
from .svg import Curve, Strip, curves, strips

__all__ = ["comparison_html", "comparison_page"]


def comparison_page(comparison: Comparison, machine: Mapping[str, object], when: str) -> str:
    """The whole report."""
    about = f"{one_line(dict(machine))}. {when}."
    return page(f"{comparison.function}: which pool?", about, _sections(comparison))


def comparison_html(comparison: Comparison) -> str:
    """For a notebook."""
    return fragment(_sections(comparison))


def _sections(comparison: Comparison) -> list[str]:
    advice = advise(comparison)
    sections = []
    if advice.code:
        sections.append(f"<pre>{escape(advice.code)}</pre>")
    sections.append(paragraph(advice.reason))
    sections.append(
        paragraph(
            f"{comparison.items:,} items, {len(comparison.rows[0].seconds)} rounds in which the "
            "ways took turns; warm-up is not counted. Each dot is a round, the dark bar the "
            "median, the broad band the interval that it lies in.",
            "dim",
        )
    )
    rows: list[list[Cell]] = []
    for row in comparison.rows:
        name, *rest = cells(comparison, row)
        rows.append([name[0], *rest])
    sections.append(_times(comparison))
    sections.append(table(HEADER, rows))
    sections += [paragraph(f"Absent: {kind}: {why}.") for kind, why in comparison.absent.items()]
    sections.append(_scaling(comparison))
    sections += [paragraph(text) for text in (*predictions(comparison), *notes(comparison))]
    return sections


def _times(comparison: Comparison) -> str:
    rows = [
        Strip(row.label, row.seconds, row.time.median, row.time.low, row.time.high)
        for row in comparison.rows
    ]
    raw = [
        [row.kind, row.workers, number, seconds, cpu]
        for row in comparison.rows
        for number, (seconds, cpu) in enumerate(zip(row.seconds, row.cpu_seconds, strict=True))
    ]
    header = ["kind", "workers", "round", "time [s]", "CPU [s]"]
    return figure(strips(rows, "time until all results are there", "s"), csv_of(header, raw))


def _scaling(comparison: Comparison) -> str:
    lines, raw = [], []
    cpus = comparison.conditions.cpus
    for kind in dict.fromkeys(row.kind for row in comparison.rows[1:]):
        points, bars = [], []
        for row in comparison.of_kind(kind):
            speed = comparison.speed_up(row)
            points.append((float(row.workers), speed.median))
            bars.append((speed.low, speed.high))
            raw.append([kind, row.workers, speed.median, speed.low, speed.high])
        lines.append(Curve(kind, points, bars))
        law = amdahl(rounds_of(comparison, kind), cpus)
        if kind != "thread" and isinstance(law, Amdahl):
            lines.append(
                Curve(
                    f"{kind}, by Amdahl's law",
                    [
                        (float(workers), points[0][1] * law.predict(workers).median)
                        for workers in range(1, 2 * cpus + 1)
                    ],
                    dashed=True,
                )
            )
    if not lines:
        return ""
    header = ["kind", "workers", "speed-up", "low", "high"]
    return figure(curves(lines, "workers", "speed-up over serial", "x"), csv_of(header, raw))

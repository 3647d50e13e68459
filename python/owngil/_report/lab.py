# SPDX-License-Identifier: BSD-3-Clause
"""The lab's results as sections of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import median

from owngil._lab.estimates import estimate, outliers
from owngil._lab.experiment import Result
from owngil._lab.machine import one_line
from owngil._lab.verdict import DOES_NOT_HOLD, HOLDS, NO_VERDICT

from .page import Cell, csv_of, data, figure, fragment, page, paragraph, standalone, table
from .quantity import shown
from .svg import Strip, strips

__all__ = ["lab_page", "pictures", "result_html"]

_KINDS = {HOLDS: "holds", DOES_NOT_HOLD: "fails", NO_VERDICT: "open"}

_INTRODUCTION = (
    "CPython runs Python code only in the thread that holds the GIL, the global interpreter lock. "
    "Two articles measured what that means; here is each of their experiments, repeated on this "
    "machine. What must agree is the shape (what is equal, what is how many times another), not "
    "the seconds."
)
_HOW_TO_READ = (
    "Each dot is a sample, the dark bar the median of the rounds, the broad band the interval "
    "that it lies in. Orange diamonds are the article's figures."
)


def lab_page(results: Sequence[Result], machine: Mapping[str, object], when: str) -> str:
    """The whole report."""
    rows: list[list[Cell]] = [
        [result.name, result.verdict.state, (f"{result.took_s:.1f} s", result.took_s)]
        for result in results
    ]
    sections = [
        paragraph(_INTRODUCTION),
        paragraph(_HOW_TO_READ),
        table(["experiment", "the shape", "took"], rows),
        *map(_section, results),
    ]
    return page("The GIL lab", f"{one_line(dict(machine))}. {when}.", sections)


def pictures(result: Result) -> list[str]:
    """Each of its pictures as an SVG file's content."""
    heading = f"{result.name}: {result.title}"
    return [standalone(_drawn(result, *panel, heading)) for panel in _panels(result)]


def result_html(result: Result) -> str:
    """One result, for a notebook."""
    return fragment([_section(result)])


def _section(result: Result) -> str:
    parts = [
        f'<h2 id="{escape(result.name)}">{escape(result.name)}</h2>',
        paragraph(f"{result.title[:1].upper()}{result.title[1:]}."),
        _verdict(result),
        paragraph(result.teaches),
        paragraph(f"The article (“{result.article}”) saw: {result.saw}.", "dim"),
        *(_panel(result, *panel) for panel in _panels(result)),
        *(paragraph(note, "dim") for note in [result.conditions.note()] if note),
        *(paragraph(f"Not measured: {way}: {why}.", "dim") for way, why in result.absent.items()),
        data(result.source, "Source: what was run"),
    ]
    return "<section>" + "".join(parts) + "</section>"


def _verdict(result: Result) -> str:
    verdict = result.verdict
    said = f"no verdict: {verdict.objection}" if verdict.objection else f"the shape {verdict.state}"
    numbers = "".join(f"<li>{escape(number)}</li>" for number in verdict.numbers)
    return f'<p class="{_KINDS[verdict.state]}">{escape(said)}.</p><ul class="dim">{numbers}</ul>'


def _panels(result: Result) -> list[tuple[str, str, list[str]]]:
    """(axis, unit, ways): what is measured in the same way shares a picture."""
    panels: dict[tuple[str, str], list[str]] = {}
    for way, rounds in result.samples.items():
        if any(rounds):
            axis, unit = result.quantities[way]
            panels.setdefault((axis, unit), []).append(way)
    return [(axis, unit, ways) for (axis, unit), ways in panels.items()]


def _strip(result: Result, way: str) -> Strip:
    rounds = result.samples[way]
    one = estimate([median(samples) for samples in rounds if samples])
    everything = [sample for samples in rounds for sample in samples]
    saw = result.saw_seconds.get(way, ())
    return Strip(way, everything, one.median, one.low, one.high, saw)


def _drawn(result: Result, axis: str, unit: str, ways: list[str], heading: str = "") -> str:
    return strips([_strip(result, way) for way in ways], axis, unit, heading)


def _panel(result: Result, axis: str, unit: str, ways: list[str]) -> str:
    cells: list[list[Cell]] = []
    raw: list[list[object]] = []
    for way in ways:
        rounds = result.samples[way]
        everything = [sample for one in rounds for sample in one]
        one = estimate([median(samples) for samples in rounds if samples])
        odd = len(outliers(everything))
        cells.append(
            [
                way,
                (shown(one.median, unit), one.median),
                (f"{shown(one.low, unit)} to {shown(one.high, unit)}", one.high - one.low),
                (f"{one.confidence:.0%}", one.confidence),
                (str(len(everything)), float(len(everything))),
                (str(odd), float(odd)),
            ]
        )
        raw += [[way, number, value] for number, samples in enumerate(rounds) for value in samples]
    header = ["", "median", "interval", "confidence", "samples", "outliers"]
    copied = csv_of(["way", "round", f"{axis} [{unit or '1'}]"], raw)
    return figure(_drawn(result, axis, unit, ways), copied) + table(header, cells)

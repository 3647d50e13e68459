# SPDX-License-Identifier: BSD-3-Clause
"""Plots as SVG: every sample a dot, the median a bar with its interval, axes with units.

Colours are the page's (CSS variables), so they follow dark and light. Widths are chosen for a
phone: the picture shrinks to it and its text stays readable.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from .quantity import shown, ticks

__all__ = ["Curve", "Stack", "Strip", "curves", "stacks", "strips"]

_WIDTH = 480
_LEFT, _RIGHT = 14, 20
_DOTS = 200


@dataclass(frozen=True)
class Strip:
    """One row of a strip plot."""

    label: str
    samples: Sequence[float]
    median: float
    low: float
    high: float
    others: Sequence[float] = ()  # what somebody else saw


@dataclass(frozen=True)
class Stack:
    """One bar: (how much, of what, class of its colour), from the left."""

    label: str
    parts: Sequence[tuple[float, str, str]]


@dataclass(frozen=True)
class Curve:
    """One line of a plot; `bars` are the ends of its points' intervals."""

    label: str
    points: Sequence[tuple[float, float]]
    bars: Sequence[tuple[float, float]] = ()
    dashed: bool = False


def strips(rows: Sequence[Strip], axis: str, unit: str, heading: str = "") -> str:
    """A row each, one above the other; a logarithmic axis where medians are far apart.

    With a heading it stands alone: it then also says what its marks mean.
    """
    values = [v for row in rows for v in (*row.samples, *row.others) if math.isfinite(v)]
    medians = [row.median for row in rows]
    positive = [v for v in values if v > 0]
    logarithmic = bool(positive) and min(medians) > 0 and max(medians) > 20 * min(medians)
    if logarithmic:
        low, high = min(positive) / 1.3, max(positive) * 1.3
    else:
        low, high = min(0.0, *values), max(values) * 1.05 or 1.0
    x = _scale(low, high, _LEFT, _WIDTH - _RIGHT, logarithmic)
    row_height = 44
    bottom = 8 + row_height * len(rows)
    parts = [_x_axis(x, ticks(low, high, logarithmic), low, high, bottom, axis, unit, logarithmic)]
    for number, row in enumerate(rows):
        y = 8 + row_height * number
        middle = y + 28
        value = f"{shown(row.median, unit)}"
        parts.append(f'<text class="label" x="{_LEFT}" y="{y + 12}">{escape(row.label)}</text>')
        parts.append(
            f'<text class="value" x="{_WIDTH - _RIGHT}" y="{y + 12}" text-anchor="end">'
            f"{escape(value)}</text>"
        )
        parts += [
            f'<circle class="dot" cx="{x(v):.1f}" cy="{middle + 2.5 * (i % 5 - 2):.1f}" r="2.5"/>'
            for i, v in enumerate(_thinned(row.samples))
            if not logarithmic or v > 0
        ]
        if not logarithmic or row.low > 0:
            parts.append(
                f'<line class="interval" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" '
                f'y1="{middle}" y2="{middle}"/>'
            )
        parts.append(
            f'<line class="median" x1="{x(row.median):.1f}" x2="{x(row.median):.1f}" '
            f'y1="{middle - 9}" y2="{middle + 9}"><title>{escape(row.label)}: median {value}, '
            f"{shown(row.low, unit)} to {shown(row.high, unit)}</title></line>"
        )
        parts += [
            f'<path class="other" d="M{x(v):.1f} {middle - 6}l6 6l-6 6l-6 -6z">'
            f"<title>the article: {shown(v, unit)}</title></path>"
            for v in row.others
            if not logarithmic or v > 0
        ]
    height = bottom + 44.0
    if heading:
        words = textwrap.wrap(heading, 58)
        shift = 4 + 18 * len(words)
        lines = [
            f'<text class="heading" x="{_LEFT}" y="{16 + 18 * i}">{escape(line)}</text>'
            for i, line in enumerate(words)
        ]
        marks = _legend(bottom + 62, any(row.others for row in rows))
        parts = [*lines, f'<g transform="translate(0 {shift})">', *parts, marks, "</g>"]
        height += shift + 30
    return _svg(height, parts, f"{axis}: " + ", ".join(row.label for row in rows))


def _legend(y: float, with_others: bool) -> str:
    """What dots, bars, bands and diamonds are."""
    middle = y - 4
    marks = [
        (f'<circle class="dot" cx="{{0}}" cy="{middle}" r="2.5"/>', "a sample", 78),
        (
            f'<line class="median" x1="{{0}}" x2="{{0}}" y1="{middle - 7}" y2="{middle + 7}"/>',
            "median of the rounds",
            148,
        ),
        (
            f'<line class="interval" x1="{{0}}" x2="{{1}}" y1="{middle}" y2="{middle}"/>',
            "its interval",
            104,
        ),
    ]
    if with_others:
        diamond = f'<path class="other" d="M{{0}} {middle - 6}l6 6l-6 6l-6 -6z"/>'
        marks.append((diamond, "the article", 0))
    parts, x = [], _LEFT + 6
    for mark, text, width in marks:
        long = "interval" in mark
        parts.append(mark.format(x, x + 14))
        parts.append(
            f'<text class="tick" x="{x + (22 if long else 10)}" y="{y}">{escape(text)}</text>'
        )
        x += width
    return "".join(parts)


def stacks(rows: Sequence[Stack], axis: str) -> str:
    """A bar each, of parts that add up, over one axis from 0; with a legend below."""
    most = max(sum(count for count, _, _ in row.parts) for row in rows) or 1.0
    x = _scale(0.0, most, _LEFT, _WIDTH - _RIGHT, False)
    bottom = 8 + 40 * len(rows)
    parts = [_x_axis(x, ticks(0.0, most, False), 0.0, most, bottom, axis, "", False)]
    for number, row in enumerate(rows):
        y = 8 + 40 * number
        said = ", ".join(f"{count:.3g} {text}" for count, text, _ in row.parts if count)
        parts.append(
            f'<text class="label" x="{_LEFT}" y="{y + 12}">{escape(row.label)}</text>'
            f'<text class="value" x="{_WIDTH - _RIGHT}" y="{y + 12}" text-anchor="end">'
            f"{escape(said)}</text>"
        )
        done = 0.0
        for count, text, colour in row.parts:
            if count:
                width = x(done + count) - x(done)
                parts.append(
                    f'<rect class="bar {colour}" x="{x(done):.1f}" y="{y + 18}" '
                    f'width="{width:.1f}" height="14"><title>{escape(row.label)}: {count:.3g} '
                    f"{escape(text)}</title></rect>"
                )
            done += count
    at = float(_LEFT)
    for _, text, colour in rows[0].parts:
        parts.append(
            f'<rect class="bar {colour}" x="{at:.0f}" y="{bottom + 47}" width="14" height="10"/>'
            f'<text class="tick" x="{at + 20:.0f}" y="{bottom + 56}">{escape(text)}</text>'
        )
        at += 40 + 7 * len(text)
    return _svg(bottom + 66, parts, f"{axis}: " + ", ".join(row.label for row in rows))


def curves(
    lines: Sequence[Curve], x_axis: str, y_axis: str, y_unit: str, x_ticks: Sequence[float] = ()
) -> str:
    """Lines over a linear x, from 0 upwards, with a legend below."""
    xs = [px for line in lines for px, _ in line.points]
    ys = [py for line in lines for _, py in line.points] + [
        end for line in lines for bar in line.bars for end in bar
    ]
    top, bottom, left = 26, 236, 58
    high_x = max(xs)
    low_x = min(xs) if min(xs) < high_x else 0.0
    high_y = max(ys) * 1.05 or 1.0
    x = _scale(low_x, high_x, left, _WIDTH - _RIGHT, False)
    y = _scale(0.0, high_y, bottom, top, False)
    marks = [v for v in (x_ticks or ticks(low_x, high_x, False)) if low_x <= v <= high_x]
    parts = [f'<text class="axis" x="{_LEFT - 8}" y="14">{escape(y_axis)}</text>']
    for v in ticks(0.0, high_y, False):
        parts.append(
            f'<line class="grid" x1="{left}" x2="{_WIDTH - _RIGHT}" y1="{y(v):.1f}" '
            f'y2="{y(v):.1f}"/><text class="tick" x="{left - 6}" y="{y(v) + 4:.1f}" '
            f'text-anchor="end">{escape(shown(v, y_unit))}</text>'
        )
    for v in marks:
        parts.append(
            f'<text class="tick" x="{x(v):.1f}" y="{bottom + 16}" text-anchor="middle">{v:g}</text>'
        )
    parts.append(
        f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{bottom + 34}" text-anchor="end">'
        f"{escape(x_axis)}</text>"
    )
    for number, line in enumerate(lines):
        colour = f"c{number % 6}"
        path = " ".join(f"{x(px):.1f},{y(py):.1f}" for px, py in line.points)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(f'<polyline class="curve {colour}" points="{path}"{dash}/>')
        for (px, py), bar in zip(line.points, line.bars, strict=False):
            parts.append(
                f'<line class="curve {colour}" x1="{x(px):.1f}" x2="{x(px):.1f}" '
                f'y1="{y(bar[0]):.1f}" y2="{y(bar[1]):.1f}"/>'
            )
            parts.append(
                f'<circle class="fill {colour}" cx="{x(px):.1f}" cy="{y(py):.1f}" r="3.5">'
                f"<title>{escape(line.label)}: {px:g}, {shown(py, y_unit)}</title></circle>"
            )
        legend = bottom + 54 + 18 * number
        parts.append(
            f'<line class="curve {colour}" x1="{left}" x2="{left + 24}" y1="{legend - 4}" '
            f'y2="{legend - 4}"{dash}/><text class="label" x="{left + 32}" y="{legend}">'
            f"{escape(line.label)}</text>"
        )
    return _svg(bottom + 48 + 18 * len(lines), parts, f"{y_axis} over {x_axis}")


def _x_axis(
    x: Callable[[float], float],
    marks: Sequence[float],
    low: float,
    high: float,
    bottom: float,
    axis: str,
    unit: str,
    logarithmic: bool,
) -> str:
    parts = []
    for v in marks:
        if not low <= v <= high:
            continue
        text = shown(v, unit)
        half = 3.3 * len(text)  # pixels, about
        at = min(max(x(v), 2 + half), _WIDTH - 2 - half)
        parts.append(
            f'<line class="grid" x1="{x(v):.1f}" x2="{x(v):.1f}" y1="4" y2="{bottom}"/>'
            f'<text class="tick" x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">'
            f"{escape(text)}</text>"
        )
    scale = ", logarithmic" if logarithmic else ""
    parts.append(
        f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{bottom + 34}" text-anchor="end">'
        f"{escape(axis + scale)}</text>"
    )
    return "".join(parts)


def _scale(
    low: float, high: float, first: float, last: float, logarithmic: bool
) -> Callable[[float], float]:
    if logarithmic:
        a, b = math.log(low), math.log(high)
        return lambda v: first + (math.log(v) - a) / ((b - a) or 1.0) * (last - first)
    return lambda v: first + (v - low) / ((high - low) or 1.0) * (last - first)


def _thinned(samples: Sequence[float]) -> Sequence[float]:
    """At most so many dots, extremes kept."""
    if len(samples) <= _DOTS:
        return samples
    ordered = sorted(samples)
    step = (len(ordered) - 1) / (_DOTS - 1)
    return [ordered[round(i * step)] for i in range(_DOTS)]


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg class="owngil-plot" role="img" viewBox="0 0 {_WIDTH} {height:.0f}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )

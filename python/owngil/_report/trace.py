# SPDX-License-Identifier: BSD-3-Clause
"""A trace as one page: a row for each thread's tasks and one for its GIL, over time."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from owngil._trace.events import Timeline

from .page import csv_of, figure, fragment, page, paragraph
from .quantity import shown, ticks

__all__ = ["timeline_html", "timeline_page"]

_WIDTH = 960
_LEFT, _RIGHT = 8, 20
_MOST = 1500  # rectangles in a row; shorter ones are then drawn as one

Bar = tuple[int, int, str, str]  # begin, end (ns), class, what


def timeline_page(found: Timeline) -> str:
    """The whole page."""
    return page("Tasks and the GIL", "Recorded by owngil.trace.", _sections(found))


def timeline_html(found: Timeline, overhead: str) -> str:
    """For a notebook."""
    return fragment([*_sections(found), paragraph(f"Overhead: {overhead}.", "dim")])


def _sections(found: Timeline) -> list[str]:
    seconds = (found.ended - found.began) / 1e9
    tasks = sum(map(len, found.tasks.values()))
    return [
        paragraph(
            f"{tasks:,} tasks in {seconds:.3f} s. In a row of tasks, blue is a task that runs and "
            "grey a call of submit() or map(); in a row of the GIL, green is a thread that holds "
            "it and red one that waits for it."
        ),
        _picture(found),
        paragraph("Not to be seen here: " + "; ".join(found.cannot_see) + ".", "dim"),
    ]


def _rows(found: Timeline) -> list[tuple[str, list[Bar]]]:
    rows: list[tuple[str, list[Bar]]] = []
    for process in sorted({found.pid, *found.tasks, *found.slices}, key=lambda p: p != found.pid):
        title = "program" if process == found.pid else f"worker {process}"
        names = found.threads.get(process, {})
        tasks: dict[int, list[Bar]] = {}
        gil: dict[int, list[Bar]] = {}
        if process == found.pid:
            for one in found.submitted:
                call = "submit" if one.items is None else "map"
                bar = (one.submitted, one.sent, "submit", f"{call} {one.name}")
                tasks.setdefault(one.thread, []).append(bar)
        for task in found.tasks.get(process, ()):
            kind = "task" if task["ok"] else "failed"
            bar = (task["begun"], task["done"], kind, task["name"])
            tasks.setdefault(task["thread"], []).append(bar)
        for thread, holds, begin, end in found.slices.get(process, ()):
            bar = (begin, end, "holds" if holds else "waits", "holds" if holds else "waits")
            gil.setdefault(thread, []).append(bar)
        for thread in sorted({*tasks, *gil}):
            label = f"{title}, {names.get(thread, thread)}"
            for what, bars in (("tasks", tasks.get(thread)), ("GIL", gil.get(thread))):
                if bars:
                    rows.append((f"{label}: {what}", sorted(bars)))
    return rows


def _picture(found: Timeline) -> str:
    rows = _rows(found)
    span = max(1, found.ended - found.began)
    scale = (_WIDTH - _LEFT - _RIGHT) / span
    height = 36
    bottom = 6 + height * len(rows)
    parts = ["<style>.owngil-plot .task{fill:var(--c0)}.owngil-plot .failed{fill:var(--c1)}"
             ".owngil-plot .submit{fill:var(--c5)}.owngil-plot .g-holds{fill:var(--c2)}"
             ".owngil-plot .g-waits{fill:var(--c4)}</style>"]  # fmt: skip
    raw: list[list[object]] = []
    for tick in ticks(0.0, span / 1e9, False):
        x = _LEFT + tick * 1e9 * scale
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">'
            f"{shown(tick, 's')}</text>"
        )
    for number, (label, bars) in enumerate(rows):
        y = 6 + height * number
        parts.append(f'<text class="label" x="{_LEFT}" y="{y + 11}">{escape(label)}</text>')
        for begin, end, kind, what in _merged(bars, span // _MOST):
            x = _LEFT + (max(begin, found.began) - found.began) * scale
            width = max(0.6, (min(end, found.ended) - max(begin, found.began)) * scale)
            name = kind if kind in ("task", "failed", "submit") else f"g-{kind}"
            parts.append(
                f'<rect class="{name}" x="{x:.2f}" y="{y + 15}" width="{width:.2f}" height="14">'
                f"<title>{escape(what)}, {shown((end - begin) / 1e9, 's')}</title></rect>"
            )
        raw += [[label, what, (b - found.began) / 1e9, (e - b) / 1e9] for b, e, _, what in bars]
    parts.append(
        f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{bottom + 32}" text-anchor="end">'
        "time since the trace began</text>"
    )
    svg = (
        '<svg class="owngil-plot" role="img" style="max-width:none;min-width:44rem" '
        f'viewBox="0 0 {_WIDTH} {bottom + 42}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>Tasks and the GIL over time</title>{''.join(parts)}</svg>"
    )
    header = ["row", "what", "begins [s]", "lasts [s]"]
    return f'<div class="wide">{figure(svg, csv_of(header, raw[:20_000]))}</div>'


def _merged(bars: Iterable[Bar], shortest: int) -> list[Bar]:
    """Neighbours of a kind that are closer than a pixel become one."""
    merged: list[Bar] = []
    for begin, end, kind, what in bars:
        if merged and merged[-1][2] == kind and begin - merged[-1][1] < shortest:
            first = merged.pop()
            same = what if what == first[3] else f"{first[3]}, …"
            merged.append((first[0], max(end, first[1]), kind, same))
        else:
            merged.append((begin, end, kind, what))
    return merged

# SPDX-License-Identifier: BSD-3-Clause
"""The page around a report: its styles, its script, tables that sort, data to copy."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape

from owngil._cli.command_error import CommandError

__all__ = [
    "Cell",
    "csv_of",
    "data",
    "figure",
    "fragment",
    "page",
    "paragraph",
    "standalone",
    "table",
    "write",
]

Cell = str | tuple[str, float]  # what is shown; with what it is sorted by

_COLOURS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2733; --dim: #5b6876; --rule: #dde3e9;
  --soft: #f3f6f9; --c0: #2b6fb0; --c1: #c4631b; --c2: #2f8a4c; --c3: #8a4fb0; --c4: #b03a4c;
  --c5: #5b6876; --good: #1d7a3e; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e3e8ed; --dim: #9aa7b4;
  --rule: #303943; --soft: #1d232a; --c0: #6cb0ee; --c1: #eca05c; --c2: #6ccb8b; --c3: #c596ea;
  --c4: #f08a97; --c5: #9aa7b4; --good: #6ccb8b; --bad: #ff8a80; } }
"""

_PLOT = """
.owngil-plot { width: 100%; max-width: 38rem; height: auto; display: block; }
.owngil-plot text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.owngil-plot .tick, .owngil-plot .axis { fill: var(--dim); font-size: 11px; }
.owngil-plot .value, .owngil-plot .heading { font-weight: 600; }
.owngil-plot .heading { font-size: 13px; }
.owngil-plot .grid { stroke: var(--rule); }
.owngil-plot .dot { fill: var(--c0); opacity: .35; }
.owngil-plot .interval { stroke: var(--c0); stroke-width: 6; opacity: .5; }
.owngil-plot .median { stroke: var(--ink); stroke-width: 2.5; }
.owngil-plot .other { fill: none; stroke: var(--c1); stroke-width: 1.8; }
.owngil-plot .curve { fill: none; stroke-width: 2; }
.owngil-plot .c0 { stroke: var(--c0); } .owngil-plot .c1 { stroke: var(--c1); }
.owngil-plot .c2 { stroke: var(--c2); } .owngil-plot .c3 { stroke: var(--c3); }
.owngil-plot .c4 { stroke: var(--c4); } .owngil-plot .c5 { stroke: var(--c5); }
.owngil-plot .fill { fill: var(--paper); stroke-width: 2; }
.owngil-plot .bar.c1 { fill: var(--c1); } .owngil-plot .bar.c2 { fill: var(--c2); }
.owngil-plot .bar.c4 { fill: var(--c4); } .owngil-plot .bar.c5 { fill: var(--rule); }
.owngil-plot .bar { stroke: none; }
@media (max-width: 30rem) { .owngil-plot text { font-size: 14px; }
  .owngil-plot .tick, .owngil-plot .axis { font-size: 13px; } .owngil-plot .heading {
  font-size: 13px; } }
"""

_TEXT = """
.owngil { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 46rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
.owngil h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
.owngil h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; border-top: 1px solid var(--rule);
  padding-top: 1rem; }
.owngil .dim { color: var(--dim); font-size: .9rem; }
.owngil .holds { color: var(--good); font-weight: 600; }
.owngil .fails { color: var(--bad); font-weight: 600; }
.owngil .open { color: var(--dim); font-weight: 600; }
.owngil figure { margin: 1rem 0; }
.owngil .wide { overflow-x: auto; }
.owngil table { border-collapse: collapse; width: 100%; font-size: .88rem; overflow-wrap: normal; }
.owngil th, .owngil td { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid
  var(--rule); font-variant-numeric: tabular-nums; }
.owngil td:not(:first-child) { white-space: nowrap; }
.owngil th:first-child, .owngil td:first-child { text-align: left; }
.owngil th button { all: unset; cursor: pointer; color: var(--dim); }
.owngil th button:focus-visible { outline: 2px solid var(--c0); }
.owngil th[aria-sort=ascending] button::after { content: " ▲"; }
.owngil th[aria-sort=descending] button::after { content: " ▼"; }
.owngil pre { background: var(--soft); padding: .75rem; overflow: auto; font: 12.5px/1.45
  ui-monospace, monospace; max-height: 24rem; overflow-wrap: normal; }
.owngil details { margin: .5rem 0; }
.owngil summary { cursor: pointer; color: var(--c0); }
.owngil .copy { font: inherit; font-size: .85rem; margin: .25rem 0; }
@media print { .owngil details > pre { max-height: none; } .owngil .copy { display: none; }
  .owngil figure, .owngil table { break-inside: avoid; } }
"""

_BODY = "body { margin: 0; background: var(--paper); }"

_SCRIPT = """
document.querySelectorAll(".owngil th button").forEach(function (button) {
  button.addEventListener("click", function () {
    var head = button.parentNode, body = head.closest("table").tBodies[0];
    var column = Array.prototype.indexOf.call(head.parentNode.children, head);
    var up = head.getAttribute("aria-sort") !== "ascending";
    Array.prototype.forEach.call(head.parentNode.children, function (other) {
      other.removeAttribute("aria-sort");
    });
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    var rows = Array.prototype.slice.call(body.rows);
    rows.sort(function (one, other) {
      var a = one.cells[column], b = other.cells[column];
      var x = a.dataset.v, y = b.dataset.v;
      var order = x !== undefined && y !== undefined ? x - y
        : a.textContent.localeCompare(b.textContent);
      return up ? order : -order;
    });
    rows.forEach(function (row) { body.appendChild(row); });
  });
});
document.querySelectorAll(".owngil .copy").forEach(function (button) {
  button.addEventListener("click", function () {
    var pre = button.parentNode.querySelector("pre"), range = document.createRange();
    range.selectNodeContents(pre);
    var selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    var say = function () { button.textContent = "copied"; };
    if (navigator.clipboard) { navigator.clipboard.writeText(pre.textContent).then(say, say); }
    else { document.execCommand("copy"); say(); }
  });
});
document.documentElement.dataset.owngil = "ready";
"""


def page(title: str, about: str, sections: Sequence[str]) -> str:
    """A whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_COLOURS}{_PLOT}{_TEXT}{_BODY}</style></head><body>"
        f'<main class="owngil"><h1>{escape(title)}</h1><p class="dim">{escape(about)}</p>'
        f"{''.join(sections)}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def fragment(sections: Sequence[str]) -> str:
    """For a notebook's cell: the same without a document around it."""
    colours = _COLOURS.replace(":root", ".owngil")  # the notebook's own are not touched
    return f'<style>{colours}{_PLOT}{_TEXT}</style><div class="owngil">{"".join(sections)}</div>'


def standalone(svg: str) -> str:
    """A picture as a file of its own, with its styles inside."""
    style = f"<style>{_COLOURS}{_PLOT}.owngil-plot {{ background: var(--paper); }}</style>"
    return svg.replace("<title>", f"{style}<title>", 1)


def paragraph(text: str, kind: str = "") -> str:
    """Text, escaped."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def figure(svg: str, csv_text: str) -> str:
    """A picture and its data."""
    return f"<figure>{svg}{data(csv_text)}</figure>"


def data(text: str, summary: str = "Data") -> str:
    """Text that unfolds and can be copied."""
    return (
        f'<details><summary>{escape(summary)}</summary><button class="copy" type="button">copy'
        f"</button><pre>{escape(text)}</pre></details>"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """One that sorts by a click on a column's head."""
    head = "".join(
        f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in header
    )
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    inside = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table>{inside}</table></div>'


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return f"<td>{escape(cell)}</td>"
    return f'<td data-v="{cell[1]:.9g}">{escape(cell[0])}</td>'


def csv_of(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Comma-separated values."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def write(path: str, text: str) -> None:
    """Write the report, or say why it cannot be."""
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error

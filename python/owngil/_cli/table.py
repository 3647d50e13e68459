# SPDX-License-Identifier: BSD-3-Clause
"""Text for a terminal: tables whose columns line up, and bars."""

import sys
from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: the first column to the left, a last one of bars too, the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = []
    for row in (header, *rows):
        cells = [
            cell.ljust(width) if i in (0, len(widths) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def bar(value: float, longest: float, width: int = 30) -> str:
    """A bar of `value` on a scale where `longest` fills `width` columns."""
    if longest <= 0:
        return ""
    eighths = round(value / longest * width * 8)
    if not _can_print(_EIGHTHS):
        return "#" * max(1, eighths // 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True

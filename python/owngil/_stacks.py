# SPDX-License-Identifier: BSD-3-Clause
"""Makes what a worker has written of its Python stacks fit to be read.

The text is faulthandler's: for each thread a line that ends in "(most recent call first):", then a
line for each frame. A dying worker has written it, so it may be cut off anywhere, or be anything.

Not: trusting. What comes out is short, and prints nothing but text.
"""

from __future__ import annotations

__all__ = ["readable"]

_MOST_CHARACTERS = 16_000

# Below it lie the frames of how a worker starts, the same for each task.
_LOWEST_FRAME = ("_working.py", " in work")


def readable(written: bytes) -> str:
    """The stacks, the one of the thread in which it happened first."""
    text = written.decode(errors="backslashreplace")
    if not text.endswith("\n"):
        text = text.rpartition("\n")[0]  # there was no room, or no time, for the last line
    stacks: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line:
            stacks[-1].append(_printable(line))
        elif stacks[-1]:
            stacks.append([])
    stacks = [_without_start(lines) for lines in stacks if lines]
    stacks.sort(key=lambda lines: not lines[0].startswith("Current thread"))
    return _shortened("\n\n".join("\n".join(lines) for lines in stacks))


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _without_start(lines: list[str]) -> list[str]:
    file, function = _LOWEST_FRAME
    for index, line in enumerate(lines):
        # A task may crash before any frame of its own is there; then these say that.
        if index > 1 and file in line and line.endswith(function):
            return lines[:index]
    return lines


def _shortened(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    return text[:_MOST_CHARACTERS].rpartition("\n")[0] + "\n  ..."

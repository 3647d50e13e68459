# SPDX-License-Identifier: BSD-3-Clause
"""The GIL's contention for a notebook: what each thread did with its time."""

from __future__ import annotations

from owngil._contention import GilContention

from .page import csv_of, figure, fragment, paragraph
from .svg import Stack, stacks

__all__ = ["contention_html"]


def contention_html(found: GilContention) -> str:
    """A bar for each thread."""
    said = paragraph(
        f"The GIL was held {found.held:.0%} of the time; {found.waiting:.0%} of it somebody waited."
    )
    if not found.by_thread:
        return fragment([said])
    bars = [
        Stack(
            name,
            [
                (100 * holding, "% holds the GIL", "c2"),
                (100 * waiting, "% waits for it", "c4"),
                (100 * max(0.0, 1 - holding - waiting), "% does without", "c5"),
            ],
        )
        for name, (holding, waiting) in found.by_thread.items()
    ]
    rows = [[name, *shares] for name, shares in found.by_thread.items()]
    data = csv_of(["thread", "holds", "waits"], rows)
    return fragment([said, figure(stacks(bars, "share of the time, %"), data)])

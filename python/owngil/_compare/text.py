# SPDX-License-Identifier: BSD-3-Clause
"""A comparison for a terminal; and the sentences that its report shares with it."""

from __future__ import annotations

import textwrap
from statistics import median

from owngil._cli.table import render
from owngil._report.quantity import shown

from .advice import advise
from .comparison import Comparison, Row
from .models import Amdahl, Speeds, Usl, amdahl, usl

__all__ = ["HEADER", "cells", "notes", "predictions", "rounds_of", "told"]

HEADER = (
    "",
    "time",
    "interval",
    "speed-up",
    "efficiency",
    "CPU",
    "memory",
    "moved",
    "overhead/task",
)
_WIDE = 0.25


def told(comparison: Comparison) -> str:
    """Everything."""
    advice = advise(comparison)
    about = f"{comparison.function} over {comparison.items:,} items"
    if comparison.items < comparison.items_given:
        about += f" (of {comparison.items_given:,}, evenly spread)"
    about += f", {len(comparison.rows[0].seconds)} rounds in turns; warm-up not counted"
    parts = [
        about,
        render(
            HEADER, [[shown_ for shown_, _ in cells(comparison, row)] for row in comparison.rows]
        ),
        *(f"  absent   {kind}: {why}" for kind, why in comparison.absent.items()),
    ]
    if advice.code:
        parts.append(f"Use:\n\n    {advice.code}")
    parts.append(textwrap.fill(advice.reason, 96))
    parts += [textwrap.fill(note, 96) for note in (*predictions(comparison), *notes(comparison))]
    return "\n\n".join(parts)


def cells(comparison: Comparison, row: Row) -> list[tuple[str, float]]:
    """One row of the table: what is shown, and what it is sorted by."""
    time, speed = row.time, comparison.speed_up(row)
    cpu = median(row.cpu_seconds)
    in_pool = row.kind not in ("serial", "thread")
    moved = comparison.bytes_per_task if in_pool else 0.0
    overhead = comparison.overhead(row)
    efficiency = comparison.efficiency(row)
    return [
        (row.label, 0.0),
        (shown(time.median, "s"), time.median),
        (f"{shown(time.low, 's')} to {shown(time.high, 's')}", time.high - time.low),
        (f"{speed.median:.2f}x", speed.median),
        (f"{efficiency:.0%}", efficiency),
        (shown(cpu, "s"), cpu),
        (shown(row.memory_bytes, "B") if in_pool else "-", float(row.memory_bytes)),
        (shown(moved, "B") if in_pool else "-", moved),
        ("-" if row.kind == "serial" else shown(overhead, "s"), overhead),
    ]


def rounds_of(comparison: Comparison, kind: str) -> list[Speeds]:
    """For each round the speed-ups over one worker of this kind."""
    rows = comparison.of_kind(kind)
    if not rows or rows[0].workers != 1:
        return []
    return [
        {row.workers: rows[0].seconds[number] / row.seconds[number] for row in rows}
        for number in range(len(rows[0].seconds))
    ]


def predictions(comparison: Comparison) -> list[str]:
    """What the two laws say of more cores, for each kind whose workers own a GIL."""
    said = []
    for kind in dict.fromkeys(row.kind for row in comparison.rows):
        if kind in ("serial", "thread"):
            continue
        rounds = rounds_of(comparison, kind)
        cpus = comparison.conditions.cpus
        law = amdahl(rounds, cpus) if rounds else "Amdahl's law needs a measurement with 1 worker"
        said.append(f"More workers, kind={kind}: {_amdahl(law, cpus)} {_usl(usl(rounds, cpus))}")
    return said


def _amdahl(law: Amdahl | str, cpus: int) -> str:
    if isinstance(law, str):
        return f"{law}."
    predicted = ", ".join(
        f"{one.median:.3g}x ({one.low:.3g} to {one.high:.3g}) on {count}"
        for count in (2 * cpus, 4 * cpus)
        for one in [law.predict(count)]
    )
    share = law.serial_share
    return (
        f"by Amdahl's law {share.median:.1%} ({share.low:.1%} to {share.high:.1%}) is serial, "
        f"which predicts {predicted} CPUs. Trust it {law.trust}."
    )


def _usl(law: Usl | str) -> str:
    if isinstance(law, str):
        return f"No fit of the USL: {law}."
    peak = f", best with {law.peak:.0f} workers" if law.peak else ""
    return (
        f"By the USL contention is {law.contention.median:.2%} and coherence "
        f"{law.coherence.median:.3%}{peak}. Trust it {law.trust}."
    )


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know besides."""
    said = []
    if not comparison.results_agree:
        said.append(
            "The ways did not find the same results: "
            "the function depends on more than its argument."
        )
    if note := comparison.conditions.note():
        said.append(note)
    wide = [row.label for row in comparison.rows if row.time.width > _WIDE]
    if wide:
        said.append(f"The intervals of {', '.join(wide)} are still wide: give it more seconds.")
    if comparison.call_seconds < 20e-6:
        said.append(
            f"A call of {shown(comparison.call_seconds, 's')} is so short that its way to a worker "
            "decides: group many into one call."
        )
    return said

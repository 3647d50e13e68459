# SPDX-License-Identifier: BSD-3-Clause
"""One line of code to use, and the reason: a pure function of what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from owngil._report.quantity import shown

from .comparison import Comparison, Row

__all__ = ["Advice", "advise"]

_WORTH_IT = 1.1  # the lower end of the speed-up's interval
_ALIKE = 1.1  # times of this ratio are the same to a user
_MOSTLY_WAITS = 0.5  # of a CPU
_SIMPLEST_FIRST = ("serial", "thread", "interpreter", "process")


@dataclass(frozen=True)
class Advice:
    """`code` is empty where nothing may be said; `reason` says why."""

    code: str
    reason: str


def advise(comparison: Comparison) -> Advice:
    """The simplest way among those that are as fast as the fastest."""
    if objection := comparison.conditions.objection(2):
        return Advice("", f"No recommendation: {objection}.")
    serial = comparison.rows[0]
    fastest = min(comparison.rows, key=lambda row: row.time.median)
    best = _simplest(
        [row for row in comparison.rows if row.time.median <= _ALIKE * fastest.time.median]
    )
    if best.kind != "serial" and comparison.speed_up(best).low <= _WORTH_IT:
        if comparison.speed_up(best).high > _WORTH_IT:
            return Advice(
                "",
                f"No recommendation: the intervals are too wide to tell {best.label} from serial "
                f"({_speed(comparison, best)}). Run it longer, or when the machine is quiet.",
            )
        best = serial
    return Advice(_code(comparison, best), _reason(comparison, best))


def _simplest(rows: list[Row]) -> Row:
    def order(row: Row) -> tuple[int, int]:
        known = row.kind in _SIMPLEST_FIRST
        return _SIMPLEST_FIRST.index(row.kind) if known else len(_SIMPLEST_FIRST), row.workers

    return min(rows, key=order)


def _code(comparison: Comparison, best: Row) -> str:
    name = comparison.function.rpartition(":")[2]
    if best.kind == "serial":
        return f"results = [{name}(item) for item in items]"
    kind = "" if best.kind == "process" else f', kind="{best.kind}"'
    return (
        f"with owngil.Pool({best.workers}{kind}) as pool: results = list(pool.map({name}, items))"
    )


def _reason(comparison: Comparison, best: Row) -> str:
    call = shown(comparison.call_seconds, "s")
    moved = shown(comparison.bytes_per_task, "B")
    holds = ""
    if comparison.gil_share is not None:
        holds = f", holds the GIL {comparison.gil_share:.0%} of the time"
    facts = f"One call takes {call}{holds} and moves {moved}"
    if best.kind == "serial":
        cheapest = min(
            (comparison.overhead(row) for row in comparison.rows[1:] if row.kind != "thread"),
            default=0.0,
        )
        return (
            f"{facts}: no pool was worth it, as a task costs about "
            f"{shown(max(0.0, cheapest), 's')} on top. Give each call more to do."
        )
    said = f"{facts}: {best.label} is {_speed(comparison, best)} as fast as serial"
    threads = comparison.of_kind("thread")
    if best.kind == "thread":
        said += (
            ", as the function gives the GIL up while it works or waits; "
            "threads start at once and copy nothing."
        )
        if comparison.cpu_share < _MOSTLY_WAITS:
            said += (
                f" It computes {comparison.cpu_share:.0%} of the time and waits for the rest, so "
                "more threads than CPUs help as well: compare once more with more workers."
            )
        return said
    if threads:
        said += f", where threads are {_speed(comparison, threads[-1])}, because they share a GIL"
    for kind in ("interpreter", "process"):
        if kind != best.kind and kind in comparison.absent:
            said += f"; {kind}s could not run it ({comparison.absent[kind]})"
    saved = comparison.rows[0].time.median - best.time.median
    each = saved / comparison.items
    if each > 0:
        said += (
            f". Starting it takes {shown(best.start_seconds, 's')}, which pays off from about "
            f"{max(1, round(best.start_seconds / each)):,} items on"
        )
    return said + "."


def _speed(comparison: Comparison, row: Row) -> str:
    speed = comparison.speed_up(row)
    return f"{speed.median:.2f} ({speed.low:.2f} to {speed.high:.2f}) times"

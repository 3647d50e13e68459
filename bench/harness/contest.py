# SPDX-License-Identifier: BSD-3-Clause
"""A benchmark's `main`: contenders take turns, round after round, and the figures are shown.

A benchmark is a script with a docstring that asks its question in the first line and a list
of variants; each variant has its contenders, metrics and goals. `main` does the rest.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import machine, report, work
from harness.executors import KINDS, PPE, Face
from harness.figures import Figures, Goal, Metric, Samples
from harness.turns import Contender, Seat, Settings, Turn, TurnError, take_turns

Measure = Callable[[Face, Settings, int], Samples]  # the open pool, settings, number of the round


@dataclass(frozen=True)
class Variant:
    """One form of the question."""

    name: str
    title: str
    contenders: Sequence[Contender]
    metrics: Sequence[Metric]
    goals: Sequence[Goal] = ()
    references: Sequence[str] = (PPE,)  # contenders against which ratios are shown
    rounds: int = 7
    practice: bool = True  # one turn each that does not count
    fresh: bool = False  # a new process for every turn


def pools(names: Sequence[str], measure: Measure, workers: int = 0) -> list[Contender]:
    """Contenders that open one of `executors.KINDS` and measure it; 0: the run's workers."""

    def contender(name: str) -> Contender:
        kind = KINDS[name]

        @contextmanager
        def open_(settings: Settings) -> Iterator[Turn]:
            with kind.open(workers or settings.workers) as face:
                yield lambda number: measure(face, settings, number)

        return Contender(name, open_, kind.missing)

    return [contender(name) for name in names]


def renamed(contender: Contender, name: str) -> Contender:
    """The same under another name."""
    return Contender(name, contender.open, contender.missing)


def floor(name: str, open_: Callable[[Settings], AbstractContextManager[Turn]]) -> Contender:
    """A contender that is no pool, but what a pool cannot be faster than."""
    return Contender(name, open_)


def main(documentation: str | None, variants: Sequence[Variant]) -> None:
    """Run the script's command line; called as `main(__doc__, VARIANTS)`."""
    if sys.argv[1:2] == ["--turn"]:
        address, fds, settings = sys.argv[2:5]
        variant_name, _, name = address.partition("/")
        variant = next(v for v in variants if v.name == variant_name)
        take_turns(next(c for c in variant.contenders if c.name == name), fds, settings)
        return

    arguments = _parse(documentation or "", variants)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that contenders are ended, too
    _pin(arguments.cpus)
    about = machine.describe()
    print((documentation or "").partition("\n")[0])
    print(machine.one_line(about), flush=True)
    settings_ = Settings(arguments.workers, work.units_in_one_ms(), arguments.quick)
    results = {}
    for variant in variants:
        if not arguments.variants or variant.name in arguments.variants:
            results[variant.name] = _run(variant, arguments, settings_)
    if arguments.json:
        about["load_average_after"] = list(os.getloadavg())
        everything = {
            "bench": Path(sys.argv[0]).stem,
            "settings": {"workers": settings_.workers, "quick": settings_.quick},
            "machine": about,
            "variants": results,
        }
        Path(arguments.json).parent.mkdir(parents=True, exist_ok=True)
        Path(arguments.json).write_text(json.dumps(everything, indent=2) + "\n")
        print(f"\nWritten to {arguments.json}.")


def _run(variant: Variant, arguments: argparse.Namespace, settings: Settings) -> dict[str, object]:
    print(f"\n== {variant.name}: {variant.title}", flush=True)
    absent: dict[str, str] = {}
    seats: dict[str, Seat | None] = {}
    figures = Figures()
    for contender in variant.contenders:
        if arguments.only and contender.name not in arguments.only:
            continue
        if reason := contender.missing():
            absent[contender.name] = reason
        else:
            seats[contender.name] = None

    rounds = arguments.rounds or (2 if arguments.quick else variant.rounds)
    if variant.fresh and arguments.quick:
        rounds = 1
    finished = False
    try:
        for number in range(-1 if variant.practice else 0, rounds):
            names = list(seats)
            first = number % max(1, len(names))
            for name in names[first:] + names[:first]:  # each goes first in turn
                _say(f"{variant.name}: round {number + 1} of {rounds}, {name}")
                try:
                    samples = _turn(seats, variant, name, settings, number)
                except TurnError as error:
                    absent[name] = str(error)
                    continue
                if number >= 0:
                    figures.add(name, samples)
        finished = True
    finally:
        _say("")
        for seat in seats.values():
            if seat is not None:
                seat.close(patience_s=30 if finished else 2)

    order = [contender.name for contender in variant.contenders]
    print(report.tables(figures, variant.metrics, order, variant.references))
    for name, reason in absent.items():
        print(f"  absent   {name}: {reason}")
    print("\n".join(report.verdicts(figures, variant.metrics, variant.goals)), flush=True)
    return {"rounds": rounds, **report.record(figures, variant.metrics, variant.goals, absent)}


def _turn(
    seats: dict[str, Seat | None], variant: Variant, name: str, settings: Settings, number: int
) -> Samples:
    seat = seats[name] or Seat(sys.argv[0], f"{variant.name}/{name}", settings)
    seats[name] = seat
    try:
        samples = seat.turn(number)
    except TurnError:
        del seats[name]
        seat.close(patience_s=2)
        raise
    if variant.fresh:
        seats[name] = None
        seat.close()
    return samples


def _parse(documentation: str, variants: Sequence[Variant]) -> argparse.Namespace:
    names = "\n".join(f"  {v.name:16} {v.title}" for v in variants)
    parser = argparse.ArgumentParser(
        description=documentation,
        epilog=f"variants:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "variants",
        nargs="*",
        metavar="VARIANT",
        help="only these (default: all)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="turns of each")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), metavar="A,B", help="only these contenders"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument(
        "--cpus", metavar="A,B", help="run on these CPUs (default: the first N that may be used)"
    )
    parser.add_argument("--quick", action="store_true", help="small and few: does it run at all?")
    arguments = parser.parse_args()
    if unknown := set(arguments.variants) - {v.name for v in variants}:
        parser.error(f"no variant {', '.join(sorted(unknown))}; there are:\n{names}")
    if arguments.cpus is None:
        arguments.cpus = sorted(os.sched_getaffinity(0))[: arguments.workers]
    else:
        arguments.cpus = [int(cpu) for cpu in arguments.cpus.split(",")]
    return arguments


def _pin(cpus: Sequence[int]) -> None:
    # Every contender and worker inherits it.
    os.sched_setaffinity(0, cpus)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)

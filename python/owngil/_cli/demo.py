# SPDX-License-Identifier: BSD-3-Clause
"""Do the same CPU-bound work in one thread, in threads, and in workers that own their GIL.

Two pieces of work, each done serially, in threads, in processes and in interpreters:
  countdown   `while n > 0: n -= 1`, pure Python, once for each worker
  parse       every module of this Python's standard library is parsed with `ast`
              and its nodes are counted: real work on real files

Threads of one process share one GIL, so only one of them computes at a time.
A worker of owngil.Pool has an interpreter and a GIL of its own, so it computes beside the
others: each in a process of its own, or (from CPython 3.13 on) all in one. `CPU used` is the
user and system time of all processes that took part: when it is about the same in two rows,
the faster row did the same work on more CPUs at once.
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from owngil._cli import plot, workloads
from owngil._cli.arguments import positive
from owngil._cli.command_error import CommandError
from owngil._cli.cpu_clock import cpu_seconds
from owngil._cli.live_line import LiveLine
from owngil._cli.table import bar, render

EXAMPLES = """\
examples:
  owngil demo                      about ten seconds
  owngil demo --workers 8          eight countdowns, in eight threads, in eight workers
  owngil demo --plot demo.png      the bars as a picture, too (pip install 'owngil[plot]')
  owngil demo --json > demo.json   the figures for a program to read
"""

# How the sentence goes on after "2 processes" and "2 interpreters", which are these rows.
_OWNERS = {
    2: "that each own an interpreter and its GIL were",
    3: "that each own a GIL in one process",
}

# A serial row that got less than this share of a CPU had to wait for somebody else.
_QUIET = 0.9


@dataclasses.dataclass(frozen=True)
class Row:
    """One piece of work, done in one way."""

    way: str
    seconds: float
    times_faster: float
    cpu_seconds: float
    result: int


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One piece of work, done in every way."""

    name: str
    title: str
    rows: tuple[Row, ...]


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to apply a function to every item, and the processes that do it."""

    name: str
    apply: Callable[[Callable[[Any], int], Sequence[Any]], Iterable[int]]
    pids: Callable[[], list[int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `owngil demo`."""
    parser.add_argument(
        "--workers",
        type=positive,
        default=2,
        metavar="N",
        help="threads and workers; the countdown runs N times (default: 2)",
    )
    parser.add_argument(
        "--n",
        type=positive,
        default=10_000_000,
        metavar="N",
        help="where each countdown starts (default: 10_000_000)",
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the bars into FILE, a PNG")
    parser.add_argument(
        "--json", action="store_true", help="print the figures as JSON, and no table"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; the exit status is 1 if the ways do not agree."""
    if arguments.plot:
        plot.require(arguments.plot)
    paths = workloads.standard_library()
    if not paths:
        raise CommandError("this Python has no source files of its standard library to parse")
    for path in paths:
        _read(path)  # so that no way pays for a cold disk

    absent = _why_no_interpreters()
    kinds = ("process",) if absent else ("process", "interpreter")
    with LiveLine() as live, _ways(arguments.workers, kinds, live) as (ways, start_seconds):
        experiments = [
            _experiment(
                "countdown",
                f"countdown({arguments.n:,}), {_times(arguments.workers)}",
                workloads.countdown,
                [arguments.n] * arguments.workers,
                ways,
                live,
            ),
            _experiment(
                "parse",
                f"parse the {len(paths):,} modules of the standard library, count their nodes",
                workloads.count_nodes,
                paths,
                ways,
                live,
            ),
        ]

    agree = all(row.result == e.rows[0].result for e in experiments for row in e.rows)
    says = _sentence(experiments, arguments.workers, agree)
    if arguments.json:
        record = _record(arguments, start_seconds, experiments, says)
        print(json.dumps(record | {"no_interpreters": absent}, indent=2))
    else:
        print(_report(start_seconds, experiments, says))
        if absent:
            print(f"Not in interpreters: {absent}")
    if arguments.plot:
        plot.draw(arguments.plot, experiments, says)
        print(f"Drawn into {arguments.plot}.", file=sys.stderr)
    return 0 if agree else 1


def _why_no_interpreters() -> str:
    from owngil._cpython import interpreters

    try:
        interpreters()
    except RuntimeError as error:
        return str(error)
    return ""


@contextmanager
def _ways(
    workers: int, kinds: Sequence[str], live: LiveLine
) -> Iterator[tuple[list[Way], dict[str, float]]]:
    """The ways, and how many seconds it took to start the workers of each kind."""
    from owngil import Pool

    ways = [Way("serial", map, list)]
    start_seconds = {}
    live.show("starting the workers")
    with ExitStack() as pools:
        for kind in ("thread", *kinds):
            began = time.perf_counter()
            pool = pools.enter_context(Pool(workers, kind=kind))
            # One parse in each, so that no measured row pays for the import of `ast`.
            for future in [
                pool.submit(workloads.count_nodes, workloads.__file__) for _ in range(workers)
            ]:
                future.result()
            if kind != "thread":
                start_seconds[kind] = time.perf_counter() - began
            ways.append(_way_of(kind, workers, pool))
        yield ways, start_seconds


def _way_of(kind: str, workers: int, pool: Any) -> Way:
    def pids() -> list[int]:
        found = {worker.pid for worker in pool.stats().workers if worker.pid}
        return sorted(found - {os.getpid()})

    name = _plural(workers, kind, "processes" if kind == "process" else "")
    return Way(name, lambda function, items: pool.map(function, items), pids)


def _experiment(
    name: str,
    title: str,
    function: Callable[[Any], int],
    items: Sequence[Any],
    ways: Sequence[Way],
    live: LiveLine,
) -> Experiment:
    rows: list[Row] = []
    for way in ways:
        live.show(f"{name}: {way.name}", len(items))
        pids = way.pids()
        cpu_before = time.process_time() + cpu_seconds(pids)
        began = time.perf_counter()
        result = 0
        for value in way.apply(function, items):
            result += value
            live.advance()
        seconds = time.perf_counter() - began
        cpu = time.process_time() + cpu_seconds(pids) - cpu_before
        serial = rows[0].seconds if rows else seconds
        rows.append(Row(way.name, seconds, serial / seconds, cpu, result))
    return Experiment(name, title, tuple(rows))


def _sentence(experiments: Sequence[Experiment], workers: int, agree: bool) -> str:
    if not agree:
        return "The ways do not agree on the result: this is a bug, please report it."
    cpus = len(os.sched_getaffinity(0))
    threads = " and ".join(f"{e.rows[1].times_faster:.2f}" for e in experiments)
    owners = [
        f"{way.way} {_OWNERS[number]} "
        + " and ".join(f"{e.rows[number].times_faster:.2f}" for e in experiments)
        for number, way in list(enumerate(experiments[0].rows))[2:]
    ]
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    first = "that share one GIL" if has_gil else "of this Python without a GIL"
    sentence = (
        f"{_plural(workers, 'thread').capitalize()} {first} were {threads} times as fast as one; "
        f"{', '.join(owners)} times as fast, on {_plural(cpus, 'CPU')}, with the same results."
    )
    if workers < cpus:
        sentence += f" (There are {cpus} CPUs: try --workers {cpus}.)"
    elif cpus == 1:
        sentence += " (With 1 CPU nothing can run beside anything else.)"
    share = min(e.rows[0].cpu_seconds / e.rows[0].seconds for e in experiments)
    if share < _QUIET:
        sentence += (
            f" But this machine is busy: the serial rows got as little as {share:.0%} of a CPU, "
            "so try again when it is quiet."
        )
    return sentence


def _report(start_seconds: dict[str, float], experiments: Sequence[Experiment], says: str) -> str:
    header = ["", "seconds", "times faster", "CPU used", ""]
    body: list[list[str]] = []
    for experiment in experiments:
        longest = max(row.seconds for row in experiment.rows)
        for row in experiment.rows:
            body.append(
                [
                    f"  {row.way}",
                    f"{row.seconds:.2f}",
                    f"{row.times_faster:.2f}",
                    f"{row.cpu_seconds:.2f} s",
                    bar(row.seconds, longest),
                ]
            )
    head, *lines = render(header, body).splitlines()
    text = [head]
    for experiment in experiments:
        text.append(experiment.title)
        text += [lines.pop(0) for _ in experiment.rows]
    text += [
        "",
        says,
        f"Starting the workers took {_milliseconds(start_seconds)}, which is not in the table; "
        f"each parse counted {experiments[1].rows[0].result:,} nodes.",
    ]
    return "\n".join(text)


def _record(
    arguments: argparse.Namespace,
    start_seconds: dict[str, float],
    experiments: Sequence[Experiment],
    says: str,
) -> dict[str, object]:
    from owngil import __version__

    return {
        "owngil": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "workers": arguments.workers,
        "n": arguments.n,
        "start_seconds": start_seconds,
        "experiments": [dataclasses.asdict(experiment) for experiment in experiments],
        "says": says,
    }


def _milliseconds(start_seconds: dict[str, float]) -> str:
    times = [f"{seconds * 1000:.0f} ms ({kind})" for kind, seconds in start_seconds.items()]
    return " and ".join(times)


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read()


def _plural(count: int, noun: str, nouns: str = "") -> str:
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")

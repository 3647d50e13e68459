# SPDX-License-Identifier: BSD-3-Clause
"""Repeat on this machine what two articles measured about the GIL, and judge whether it holds.

Without a name it lists the experiments. Each one shows its source, what the article saw, what
happened here (ways take turns, round after round), and a verdict on the shape, with the numbers
that decide. Where the machine is too busy, too noisy or too small, there is no verdict.
"""

import argparse
import json
import os
import sys
import time

from owngil._cli.arguments import positive, seconds, writable
from owngil._cli.command_error import CommandError

EXAMPLES = """\
examples:
  owngil lab                                   which experiments there are
  owngil lab countdown-threads io-vs-python    two of them
  owngil lab all --report lab.html             all of them, about four minutes, with pictures
  owngil lab convoy --switch-interval 0.001    the same with another switch interval
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `owngil lab`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments, or: all")
    parser.add_argument(
        "--n",
        type=positive,
        default=10_000_000,
        metavar="N",
        help="where a countdown starts (default: 10_000_000)",
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=0.3,
        metavar="S",
        help="how long a thread sleeps (default: 0.3; the articles: 1)",
    )
    parser.add_argument(
        "--threads", type=positive, default=2, metavar="N", help="at once (default: 2)"
    )
    parser.add_argument(
        "--switch-interval",
        type=seconds,
        default=0.005,
        metavar="S",
        help="as sys.setswitchinterval takes it (default: 0.005)",
    )
    parser.add_argument(
        "--rounds", type=positive, metavar="N", help="turns of each way (default: 5)"
    )
    parser.add_argument("--jython", default="", metavar="JAR", help="a Jython for no-gil")
    parser.add_argument("--no-source", action="store_true", help="do not show the source")
    parser.add_argument("--report", metavar="FILE", help="write a report, one HTML file")
    parser.add_argument("--pictures", metavar="FOLDER", help="write each picture as an SVG file")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")


def run(arguments: argparse.Namespace) -> int:
    """Run the experiments; the exit status is 1 if the shape of one does not hold."""
    from dataclasses import asdict

    from owngil._lab import text
    from owngil._lab.catalogue import EXPERIMENTS
    from owngil._lab.experiment import Settings
    from owngil._lab.machine import describe
    from owngil._lab.runner import run as run_one
    from owngil._lab.verdict import DOES_NOT_HOLD
    from owngil._report.page import write

    if not arguments.names:
        print(text.listing(EXPERIMENTS))
        return 0
    names = list(EXPERIMENTS) if "all" in arguments.names else list(dict.fromkeys(arguments.names))
    for name in names:
        if name not in EXPERIMENTS:
            raise CommandError(
                f"there is no experiment {name}; there are: {', '.join(EXPERIMENTS)}, and: all"
            )
    for path in filter(None, (arguments.json, arguments.report)):
        writable(path)
    if arguments.pictures and not os.path.isdir(arguments.pictures):
        raise CommandError(f"there is no folder {arguments.pictures} to write pictures into")
    settings = Settings(
        n=arguments.n,
        seconds=arguments.seconds,
        threads=arguments.threads,
        switch_interval=arguments.switch_interval,
        rounds=arguments.rounds or 0,
        jython=arguments.jython,
    )
    from owngil._cli.live_line import LiveLine

    results = []
    for number, name in enumerate(names):
        with LiveLine() as live:
            place = f"[{number + 1}/{len(names)}] " if len(names) > 1 else ""
            result = run_one(EXPERIMENTS[name], settings, lambda what: live.show(place + what))  # noqa: B023
        results.append(result)
        print(text.told(result, not arguments.no_source), end="\n\n", flush=True)
    if len(results) > 1:
        print(text.summary(results))
    machine = describe()
    if arguments.report:
        from owngil._report.lab import lab_page

        write(arguments.report, lab_page(results, machine, time.strftime("%Y-%m-%d %H:%M")))
        print(f"Written to {arguments.report}.", file=sys.stderr)
    if arguments.pictures:
        from owngil._report.lab import pictures

        for result in results:
            for number, svg in enumerate(pictures(result)):
                name = result.name + (f"-{number + 1}" if number else "")
                write(os.path.join(arguments.pictures, f"{name}.svg"), svg)
    if arguments.json:
        record = {
            "machine": machine,
            "settings": asdict(settings),
            "experiments": [result.record() for result in results],
        }
        write(arguments.json, json.dumps(record, indent=2) + "\n")
        print(f"Written to {arguments.json}.", file=sys.stderr)
    return 1 if any(result.verdict.state == DOES_NOT_HOLD for result in results) else 0

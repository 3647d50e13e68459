# SPDX-License-Identifier: BSD-3-Clause
"""Measure owngil against its peers: the programs of bench/, in turns, medians and tails.

Without a name it lists the questions. The programs lie in the source tree (a clone), not in a
wheel; peers that are not installed are named and left out. --save keeps a run; --against sets this
run beside one that was saved and flags what became slower beyond the noise, and beyond what the
peers, measured beside it, became; and, of what is counted, what became worse at all.
"""

import argparse
import json
import time
from typing import Any

from owngil._cli.arguments import positive, writable
from owngil._cli.command_error import CommandError

EXAMPLES = """\
examples:
  owngil bench roundtrip countdown --save before.json
  owngil bench roundtrip countdown --against before.json --report bench.html
"""

_FORMAT = "owngil bench 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `owngil bench`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="questions, or: all")
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each contender")
    parser.add_argument("--workers", type=positive, metavar="N", help="default: 2")
    parser.add_argument("--only", metavar="A,B", help="only these contenders")
    parser.add_argument("--quick", action="store_true", help="small and few: does it run at all?")
    parser.add_argument("--save", metavar="FILE", help="keep the figures in FILE")
    parser.add_argument("--against", metavar="FILE", help="compare with a run that was saved")
    parser.add_argument("--report", metavar="FILE", help="write a report, one HTML file")


def run(arguments: argparse.Namespace) -> int:
    """Run the programs; the exit status is 1 if something became slower."""
    from owngil._bench import against, programs

    folder = programs.folder()
    if folder is None:
        raise CommandError(
            "the benchmarks are not installed: they are in the source tree, "
            "so run this in a clone, as ./dev run owngil bench"
        )
    questions = programs.questions(folder)
    if not arguments.names:
        print("\n".join(f"  {name:<12} {text}" for name, text in questions.items()))
        return 0
    names = list(questions) if "all" in arguments.names else list(dict.fromkeys(arguments.names))
    for name in names:
        if name not in questions:
            raise CommandError(f"there is no benchmark {name}; there are: {', '.join(questions)}")
    for path in filter(None, (arguments.save, arguments.report)):
        writable(path)
    old = _load(arguments.against) if arguments.against else None

    options = {"quick": ""} if arguments.quick else {}
    for option in ("rounds", "workers", "only"):
        if (value := getattr(arguments, option)) is not None:
            options[option] = str(value)
    new: dict[str, Any] = {
        "format": _FORMAT,
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "benches": {},
    }
    for name in names:
        print(f"# {name}", flush=True)
        try:
            new["benches"][name] = programs.run(folder, name, options)
        except RuntimeError as error:
            raise CommandError(str(error)) from error

    findings: list[against.Finding] = []
    notes: list[str] = []
    if old is not None:
        findings, notes = against.compared(old, new), against.differences(old, new)
        _print_findings(findings, notes, arguments.against)
    from owngil._report.page import write

    if arguments.save:
        write(arguments.save, json.dumps(new, indent=1) + "\n")
        print(f"\nWritten to {arguments.save}.")
    if arguments.report:
        from owngil._report.bench import bench_page

        write(arguments.report, bench_page(new, findings, notes))
        print(f"\nWritten to {arguments.report}.")
    return 1 if any(one.state == against.REGRESSION for one in findings) else 0


def _print_findings(findings: list[Any], notes: list[str], path: str) -> None:
    from owngil._cli.table import render
    from owngil._report.bench import FINDINGS_HEADER, finding_cells

    print(f"\n# against {path}")
    for note in notes:
        print(f"Not the same machine: {note}.")
    if findings:
        print(render(FINDINGS_HEADER, [finding_cells(one) for one in findings]))
    else:
        print("The two runs have nothing in common.")


def _load(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            record: Any = json.load(file)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{path} is no run that was saved: {error}") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise CommandError(f"{path} is no run that `owngil bench --save` has written")
    return record

# SPDX-License-Identifier: BSD-3-Clause
"""Run a script and record who held the GIL, who waited for it, and what its tasks did.

The GIL of the program and of every worker is looked at 5,000 times a second, from outside, beside
the tasks' own stages. The file opens at ui.perfetto.dev; --html draws it as a page of its own.
"""

import argparse
import os
import runpy
import sys

from owngil._cli.arguments import writable
from owngil._cli.command_error import CommandError

EXAMPLES = """\
examples:
  owngil trace script.py                                  into trace.json
  owngil trace -o run.json --html run.html script.py 1 2  the script's arguments follow it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `owngil trace`."""
    parser.add_argument("-o", "--output", default="trace.json", metavar="FILE", help="the trace")
    parser.add_argument("--html", metavar="FILE", help="draw it into FILE, too")
    parser.add_argument("script", metavar="SCRIPT")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT")


def run(arguments: argparse.Namespace) -> int:
    """Run the script; the exit status is its own."""
    if not os.path.isfile(arguments.script):
        raise CommandError(f"there is no script {arguments.script}")
    for path in filter(None, (arguments.output, arguments.html)):
        writable(path)
    from owngil import trace

    output = os.path.abspath(arguments.output)
    html = os.path.abspath(arguments.html) if arguments.html else None
    argv, path0 = sys.argv, sys.path[0]
    sys.argv = [arguments.script, *arguments.arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(arguments.script))
    status = 0
    recording = trace(output, html=html)
    try:
        with recording:
            try:
                runpy.run_path(arguments.script, run_name="__main__")
            except SystemExit as end:
                status = _status(end.code)
    finally:
        sys.argv, sys.path[0] = argv, path0
    print(f"Written to {output}: open it at https://ui.perfetto.dev.", file=sys.stderr)
    if html:
        print(f"Written to {html}.", file=sys.stderr)
    print(f"Overhead: {recording.overhead}.", file=sys.stderr)
    for hidden in recording.cannot_see:
        print(f"Not to be seen: {hidden}.", file=sys.stderr)
    return status


def _status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return 1

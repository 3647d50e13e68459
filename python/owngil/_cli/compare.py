# SPDX-License-Identifier: BSD-3-Clause
"""Run your own function serially and in pools of every kind, and say which to use.

The function is named as MODULE:FUNCTION (the current folder is looked in first) and is called
with one item at a time. --items is a Python expression, in which the module's names may be used.
The ways take turns until the intervals of their times are narrow or --seconds are over.
"""

import argparse
import importlib
import json
import os
import sys
import time
from typing import Any

from owngil._cli.arguments import positive, seconds, writable
from owngil._cli.command_error import CommandError

EXAMPLES = """\
examples:
  owngil compare math:factorial --items 'range(3000, 3200)'
  owngil compare mymodule:parse --items 'paths()' --report parse.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `owngil compare`."""
    parser.add_argument("function", metavar="MODULE:FUNCTION")
    parser.add_argument("--items", required=True, metavar="EXPRESSION", help="what it is called on")
    parser.add_argument("--workers", type=positive, metavar="N", help="at most (default: CPUs)")
    parser.add_argument(
        "--seconds", type=seconds, default=30.0, metavar="S", help="about how long (default: 30)"
    )
    parser.add_argument("--report", metavar="FILE", help="write a report, one HTML file")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")


def run(arguments: argparse.Namespace) -> int:
    """Compare, and print what was found."""
    for path in filter(None, (arguments.report, arguments.json)):
        writable(path)
    function, module = _function(arguments.function)
    items = _items(arguments.items, module)
    from owngil._cli.live_line import LiveLine
    from owngil._compare.measure import measure

    try:
        with LiveLine() as live:
            comparison = measure(
                function,
                items,
                workers=arguments.workers,
                seconds=arguments.seconds,
                show=live.show,
            )
    except ValueError as error:
        raise CommandError(str(error)) from error
    print(comparison)
    from owngil._lab.machine import describe
    from owngil._report.page import write

    if arguments.report:
        from owngil._report.compare import comparison_page

        when = time.strftime("%Y-%m-%d %H:%M")
        write(arguments.report, comparison_page(comparison, describe(), when))
        print(f"Written to {arguments.report}.", file=sys.stderr)
    if arguments.json:
        record = {"machine": describe(), "comparison": comparison.record()}
        write(arguments.json, json.dumps(record, indent=2) + "\n")
        print(f"Written to {arguments.json}.", file=sys.stderr)
    return 0


def _function(name: str) -> tuple[Any, Any]:
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise CommandError(f"{name!r} does not name a function as MODULE:FUNCTION does")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.startswith(error.name):
            raise CommandError(f"there is no module {module_name} here or installed") from error
        raise CommandError(f"module {module_name} cannot be imported: {error}") from error
    except Exception as error:
        raise CommandError(
            f"module {module_name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise CommandError(f"module {module_name} has no {path}")
        found = getattr(found, part)
    if not callable(found):
        raise CommandError(f"{name} cannot be called: it is {type(found).__name__}")
    return found, module


def _items(expression: str, module: Any) -> Any:
    try:
        items = eval(expression, {**vars(module), "__builtins__": __builtins__})
    except Exception as error:
        raise CommandError(
            f"--items {expression!r} cannot be evaluated: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(items, "__iter__"):
        raise CommandError(
            f"--items {expression!r} is {type(items).__name__}, which cannot be iterated over"
        )
    return items

# SPDX-License-Identifier: BSD-3-Clause
"""The command `owngil`: one module a command, found by its name in `_COMMANDS`.

A command module has a docstring (its help: first line, then the rest), `EXAMPLES`,
`add_arguments(parser)` and `run(arguments)`, which returns the exit status.
It imports at its top only what is cheap; what is dear, it imports when it runs.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from owngil._cli import bench, compare, demo, lab, trace
from owngil._cli.command_error import CommandError

_DESCRIPTION = """\
Run CPU-bound Python in workers that each own an interpreter and its GIL.
This command shows what the package does; in a program it is three lines:

    import owngil
    with owngil.Pool() as pool:
        print(pool.submit(pow, 2, 100).result())
"""

_EPILOG = """\
start here:
  owngil demo              see threads, and workers that own their GIL, do the same work
  owngil lab               what two articles saw of the GIL, measured on this machine
  owngil compare           which pool your own function needs, measured
  owngil trace script.py   who held the GIL, and who waited for it
  owngil demo --help       what it runs, and how to change it
"""


class Command(Protocol):
    """What a module of this package has, to be a command."""

    __doc__: str | None
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


_COMMANDS: dict[str, Command] = {
    "demo": demo,
    "lab": lab,
    "compare": compare,
    "trace": trace,
    "bench": bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        return _COMMANDS[arguments.command].run(arguments)
    except CommandError as error:
        print(f"owngil {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output went away: say nothing, neither now nor at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="owngil",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in _COMMANDS.items():
        documentation = (command.__doc__ or name).strip()
        one = commands.add_parser(
            name,
            help=documentation.partition("\n")[0],
            description=documentation,
            epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(one)
    return parser


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from owngil import __version__

        print(f"owngil {__version__}")
        parser.exit()

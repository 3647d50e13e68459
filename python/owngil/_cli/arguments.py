# SPDX-License-Identifier: BSD-3-Clause
"""What command lines say: counts, seconds, files to write; each refused with a sentence."""

import argparse
import math
import os

from owngil._cli.command_error import CommandError


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return value


def seconds(text: str) -> float:
    """A time of more than 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def writable(path: str) -> None:
    """Refuse, before anything has run, a file that could not be written at the end."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise CommandError(f"cannot write {path}: it is a folder")
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise CommandError(f"cannot write {path}: no folder {folder} that may be written")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise CommandError(f"cannot write {path}: it may not be written")

# SPDX-License-Identifier: BSD-3-Clause
"""Tasks that count their runs, and fail in the first of them."""

from __future__ import annotations

import os
from pathlib import Path


def count_run(record: Path) -> int:
    """Which run of its task this is."""
    with record.open("ab", buffering=0) as file:
        file.write(b"x")
        return file.tell()


def runs(record: Path) -> int:
    return record.stat().st_size if record.exists() else 0


def die_before(record: Path, run: int) -> int:
    if count_run(record) < run:
        os._exit(7)
    return os.getpid()


def raise_before(record: Path, run: int, kind: type[BaseException] = ValueError) -> int:
    if (present := count_run(record)) < run:
        raise kind(f"run {present}")
    return present


class OwnError(Exception):
    """Lives in a module that a worker can import."""


def die_or_raise(number: int, folder: Path) -> int:
    record = folder / str(number)
    if number % 5 == 3:
        die_before(record, 2)
    if number % 5 == 1:
        raise_before(record, 2)
    return number

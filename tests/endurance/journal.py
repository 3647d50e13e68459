# SPDX-License-Identifier: BSD-3-Clause
"""Which task has begun, how often and where: told by the tasks themselves, whatever kills them.

Processes: a worker appends a record with one write; the user's process reads them at the end.
Lifetime: the file belongs to whoever made it; a worker opens it once and holds it until its end.
Not: the pool's own idea of what has begun, which is what this is to check.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

_RECORD = struct.Struct("<QQ")
_open: dict[str, int] = {}  # in a worker


def begin(path: str, number: int) -> None:
    """Runs in a worker, first of all: the task with this number has begun here."""
    if path not in _open:
        _open[path] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    # Records of several workers cannot mix: the kernel moves an append's offset under a lock.
    os.write(_open[path], _RECORD.pack(number, os.getpid()))


def begun(path: Path) -> dict[int, list[int]]:
    """The pids in which each task has begun."""
    pids: dict[int, list[int]] = {}
    for number, pid in _RECORD.iter_unpack(path.read_bytes()):
        pids.setdefault(number, []).append(pid)
    return pids

# SPDX-License-Identifier: BSD-3-Clause
"""Where all traced processes write: a folder with a file for each, a JSON object a line.

Clocks are `time.monotonic_ns`, which all processes of a machine share. A worker's file is complete
once each of its interpreters has a line {"end": …}, or its process is gone.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

__all__ = ["STOP", "append", "finished", "read"]

STOP = "stop"  # the file that tells workers to end their sampling


def append(spool: str, record: dict[str, Any]) -> None:
    """One line in this process's file. The trace may be over: then there is no folder any more."""
    line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    try:
        fd = os.open(f"{spool}/{os.getpid()}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError:
        return
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def read(spool: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(pid, record) of all files; a last line that was cut by a death is left out."""
    for name in sorted(os.listdir(spool)):
        if not name.endswith(".jsonl"):
            continue
        with open(os.path.join(spool, name), encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield int(name.removesuffix(".jsonl")), json.loads(line)


def finished(spool: str) -> bool:
    """Whether every worker that sampled has ended its file, or is gone."""
    open_: Counter[int] = Counter()  # interpreters, which may share a process and its file
    for pid, record in read(spool):
        open_[pid] += ("sampling" in record) - ("end" in record)
    return not any(open_[pid] > 0 and os.path.exists(f"/proc/{pid}") for pid in open_)

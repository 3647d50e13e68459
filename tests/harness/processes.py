# SPDX-License-Identifier: BSD-3-Clause
"""The processes that belong to another one, read from /proc.

A guardian is nobody's child (it is cloned twice), so it is found by its name and by the pidfd that
it holds of the process it guards; everything that it started is below it.
Not: a way to wait for processes; see conditions.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

GUARDIAN_NAME = "owngil-guardian"


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    name: str
    state: str
    started: int

    @property
    def command(self) -> str:
        try:
            raw = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return ""
        return raw.replace(b"\0", b" ").decode(errors="replace").strip()

    def __str__(self) -> str:
        return f"{self.pid} {self.name} ({self.state}, parent {self.parent}) {self.command[:120]}"


def read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    name_ends = text.rindex(")")
    rest = text[name_ends + 2 :].split()
    return Process(pid, int(rest[1]), text[text.index("(") + 1 : name_ends], rest[0], int(rest[19]))


def everything() -> dict[int, Process]:
    found = (read(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
    return {process.pid: process for process in found if process is not None}


def watched_pids(pid: int) -> set[int]:
    """The processes of which this one holds a pidfd."""
    watched = set()
    try:
        with os.scandir(f"/proc/{pid}/fdinfo") as entries:
            for entry in entries:
                for line in Path(entry.path).read_text().splitlines():
                    if line.startswith("Pid:"):
                        watched.add(int(line.split()[1]))
    except OSError:
        pass  # it ended while we looked
    return watched


def guardians(pid: int) -> list[Process]:
    return [
        process
        for process in everything().values()
        if process.name == GUARDIAN_NAME
        and process.state != "Z"
        and pid in watched_pids(process.pid)
    ]


def descendants(pid: int) -> list[Process]:
    """Children, grandchildren and so on, without guardians that left the tree."""
    children: dict[int, list[Process]] = {}
    for process in everything().values():
        children.setdefault(process.parent, []).append(process)
    found, todo = [], [pid]
    while todo:
        for child in children.get(todo.pop(), ()):
            found.append(child)
            todo.append(child.pid)
    return found


def family(pid: int) -> list[Process]:
    """All descendants, the guardian and everything below it included."""
    found = {process.pid: process for process in descendants(pid)}
    for guardian in guardians(pid):
        found[guardian.pid] = guardian
        found.update((process.pid, process) for process in descendants(guardian.pid))
    return sorted(found.values(), key=lambda process: process.pid)


def is_alive(process: Process) -> bool:
    """Whether that very process still runs: its number may have been given to another one."""
    now = read(process.pid)
    return now is not None and now.started == process.started and now.state not in "ZX"

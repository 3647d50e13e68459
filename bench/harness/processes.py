# SPDX-License-Identifier: BSD-3-Clause
"""What the kernel says of processes: who belongs together, their CPU time, memory, wake-ups."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes together, from their CPU clocks."""
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid(3) makes it
        except OSError:
            continue
    return total


def family(workers: Iterable[int]) -> list[int]:
    """This process, its descendants, and those of the guardian, which is our workers' parent."""
    me = os.getpid()
    parents = _parents()
    roots = {me} | {parents[pid] for pid in workers if parents.get(pid, 1) != 1}
    members = set(roots)
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in members}
        grown = not children <= members
        members |= children
    return sorted(members)


def kill_session(leader: int) -> None:
    """Every process of the session; Ray's daemons have process groups of their own in it."""
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        with suppress(ProcessLookupError):
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)


def private_dirty(pids: Iterable[int]) -> int:
    """Bytes that only one of these processes has, and has written."""
    return sum(_rollup(pid, "Private_Dirty:") for pid in pids)


def shared_memory(pids: Iterable[int]) -> int:
    """Bytes of memfds and other shared memory that these processes hold, each object once.

    All pages of an object count, mapped or not: its blocks, found through open descriptors
    and through mappings (the latter need the rights to read /proc/PID/map_files).
    """
    found: dict[tuple[int, int], int] = {}
    for pid in pids:
        for folder in ("fd", "map_files"):
            try:
                links = list(Path(f"/proc/{pid}/{folder}").iterdir())
            except OSError:
                continue
            for link in links:
                try:
                    name = str(link.readlink())
                    if name.startswith(("/memfd:", "/dev/shm/", "/dev/zero")):
                        status = link.stat()
                        found[status.st_dev, status.st_ino] = status.st_blocks * 512
                except OSError:
                    continue
    return sum(found.values())


def voluntary_switches(pids: Iterable[int]) -> dict[str, int]:
    """How often each thread of each process has gone to sleep so far; key: pid/tid name."""
    switches: dict[str, int] = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                status = (task / "status").read_text()
                name = (task / "comm").read_text().strip()
            except OSError:
                continue
            for line in status.splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    switches[f"{pid}/{task.name} {name}"] = int(line.split()[1])
    return switches


def _parents() -> dict[int, int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return parents


def _rollup(pid: int, key: str) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0

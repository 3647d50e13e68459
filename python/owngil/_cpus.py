# SPDX-License-Identifier: BSD-3-Clause
"""How many CPUs this process may use: its affinity, and the quota of its cgroups.

Asked anew for each pool, as both may change; where a quota is written is remembered for as long as
the process stays in its cgroups.
"""

from __future__ import annotations

import math
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["usable_cpus"]

_CGROUPS = "/sys/fs/cgroup"
_OWN_CGROUPS = "/proc/self/cgroup"

# What _OWN_CGROUPS said, and the quota files of those and of all groups that they are in.
_known: tuple[str | None, list[str]] = (None, [])


def usable_cpus() -> int:
    cpus = len(os.sched_getaffinity(0))
    quota = _quota()
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _quota() -> float | None:
    """In CPUs: the smallest of this process's cgroup and its ancestors. None: no limit."""
    global _known
    groups = _read(_OWN_CGROUPS) or ""
    if groups != _known[0]:
        _known = groups, list(_quota_files(groups))
    found = map(_read_quota, _known[1])
    return min((quota for quota in found if quota is not None), default=None)


def _quota_files(groups: str) -> Iterator[str]:
    for line in groups.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            folder, name = _CGROUPS, "cpu.max"
        elif "cpu" in controllers.split(","):
            folder, name = f"{_CGROUPS}/cpu", "cpu.cfs_quota_us"
        else:
            continue
        # A container may see its own group as the root, and what lies above not at all.
        while True:
            file = f"{folder}{path.rstrip('/')}/{name}"
            if os.path.exists(file):
                yield file
            if path in ("/", ""):
                break
            path = os.path.dirname(path)


def _read_quota(file: str) -> float | None:
    text = _read(file)
    if text is None or text.startswith(("max", "-1")):
        return None
    quota, *period = text.split()  # version 2 has both in one file
    if not period:
        period = (_read(file.replace("cpu.cfs_quota_us", "cpu.cfs_period_us")) or "").split()
    return int(quota) / int(period[0]) if period and int(period[0]) > 0 else None


def _read(path: str) -> str | None:
    # Half of what open() costs, which makes a text file with its buffers.
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while part := os.read(fd, 1 << 16):
                parts.append(part)
        finally:
            os.close(fd)
    except OSError:
        return None
    return b"".join(parts).decode()

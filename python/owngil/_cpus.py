# SPDX-License-Identifier: BSD-3-Clause
"""How many CPUs this process may use: its affinity, and the quota of its cgroups."""

from __future__ import annotations

import math
import os

__all__ = ["usable_cpus"]

_CGROUPS = "/sys/fs/cgroup"


def usable_cpus() -> int:
    cpus = len(os.sched_getaffinity(0))
    quota = _quota()
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _quota() -> float | None:
    """In CPUs: the smallest of this process's cgroup and its ancestors. None: no limit."""
    found = []
    for path in _own_groups():
        while True:
            quota = _read_v2(path) if os.path.exists(f"{path}/cpu.max") else _read_v1(path)
            if quota is not None:
                found.append(quota)
            if path in (_CGROUPS, "/", ""):
                break
            path = os.path.dirname(path)
    return min(found, default=None)


def _own_groups() -> list[str]:
    groups = []
    for line in (_read("/proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            groups.append(_CGROUPS + path.rstrip("/"))
        elif "cpu" in controllers.split(","):
            groups.append(f"{_CGROUPS}/cpu{path.rstrip('/')}")
    return groups


def _read_v2(path: str) -> float | None:
    text = _read(f"{path}/cpu.max")
    if text is None or text.startswith("max"):
        return None
    quota, period = text.split()
    return int(quota) / int(period)


def _read_v1(path: str) -> float | None:
    quota, period = _read(f"{path}/cpu.cfs_quota_us"), _read(f"{path}/cpu.cfs_period_us")
    if quota is None or period is None or int(quota) <= 0:
        return None
    return int(quota) / int(period)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None

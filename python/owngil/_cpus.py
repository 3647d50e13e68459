# SPDX-License-Identifier: BSD-3-Clause
"""How many CPUs this process may use: its affinity, and the quota of its cgroups.

Asked anew for each pool, as both may change.
"""

from __future__ import annotations

import math
import os

from ._cgroups import limit_files, read

__all__ = ["usable_cpus"]


def usable_cpus() -> int:
    cpus = len(os.sched_getaffinity(0))
    quota = _quota()
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _quota() -> float | None:
    """In CPUs: the smallest of this process's cgroup and its ancestors. None: no limit."""
    found = map(_read_quota, limit_files("cpu", ("cpu.cfs_quota_us",), ("cpu.max",)))
    return min((quota for quota in found if quota is not None), default=None)


def _read_quota(file: str) -> float | None:
    text = read(file)
    if text is None or text.startswith(("max", "-1")):
        return None
    quota, *period = text.split()  # version 2 has both in one file
    if not period:
        period = (read(file.replace("cpu.cfs_quota_us", "cpu.cfs_period_us")) or "").split()
    return int(quota) / int(period[0]) if period and int(period[0]) > 0 else None

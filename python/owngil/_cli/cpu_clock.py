# SPDX-License-Identifier: BSD-3-Clause
"""CPU time of other processes, in seconds, while they live.

`RUSAGE_CHILDREN` does not see workers: they are the guardian's children, not ours.
"""

import time
from collections.abc import Iterable


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes together; one that is gone counts as 0."""
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime(_clock_of(pid))
        except OSError:
            continue
    return total


def _clock_of(pid: int) -> int:
    # The kernel's clock id of a process's CPU time: what clock_getcpuclockid(3) returns.
    return (~pid << 3) | 2

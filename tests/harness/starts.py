# SPDX-License-Identifier: BSD-3-Clause
"""Waiting until a pool has heard of its workers' starts: a first result may come before that."""

from __future__ import annotations

import owngil
from harness.conditions import wait_until


def pids_of(pool: owngil.Pool) -> list[int]:
    """By rank, once all are known."""

    def known() -> list[int] | None:
        workers = pool.stats().workers
        pids = [worker.pid for worker in workers if worker.pid]
        return pids if len(pids) == len(workers) else None

    return wait_until(known, "the pool knows the pids of its workers")

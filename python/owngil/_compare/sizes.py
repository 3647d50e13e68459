# SPDX-License-Identifier: BSD-3-Clause
"""What a task moves, and what its workers hold."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["bytes_per_task", "private_bytes"]

_SAMPLED = 100


def bytes_per_task(items: Sequence[Any], results: Sequence[Any]) -> float:
    """Of argument and result, pickled; the mean of some."""
    step = max(1, len(items) // _SAMPLED)
    pairs = list(zip(items, results, strict=True))[::step]
    return sum(_size(item) + _size(result) for item, result in pairs) / len(pairs)


def _size(value: Any) -> int:
    try:
        return len(pickle.dumps(value, protocol=5))
    except Exception:
        from owngil._shipping import dumps

        try:
            return len(dumps(value))
        except Exception:  # it stays in its thread
            return 0


def private_bytes(pids: Iterable[int]) -> int:
    """Memory that these processes share with nobody; one that is gone has none."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                total += sum(
                    int(line.split()[1]) * 1024 for line in file if line.startswith("Private_")
                )
        except OSError:
            continue
    return total

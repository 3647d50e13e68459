# SPDX-License-Identifier: BSD-3-Clause
"""Pools of every kind that this version of the package has, opened side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from owngil import Pool

__all__ = ["WORKER_KINDS", "kinds", "pools", "reason"]

# Whose workers own a GIL: what the lab claims, it claims of these.
WORKER_KINDS = ("process", "interpreter")


def kinds(with_auto: bool = False) -> tuple[str, ...]:
    """As Pool(kind=...) takes them; "auto" is a choice between them."""
    from owngil._pool import KINDS

    return tuple(kind for kind in KINDS if with_auto or kind != "auto")


def reason(error: BaseException) -> str:
    """Why something cannot be, in one line: where a message has many, the last one says it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[-1:]])


@contextmanager
def pools(
    workers: int, first: Callable[[], Any]
) -> Iterator[tuple[dict[str, Pool], dict[str, str]]]:
    """Each kind's pool after it has run `first` in a worker, and why others could not."""
    opened: dict[str, Pool] = {}
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        for kind in kinds():
            try:
                pool = stack.enter_context(Pool(workers, kind=kind))
                for future in [pool.submit(first) for _ in range(workers)]:
                    future.result()
            except Exception as error:  # whatever a kind cannot do is its reason
                absent[f"in a pool, kind={kind}"] = reason(error)
                continue
            opened[kind] = pool
        yield opened, absent

# SPDX-License-Identifier: BSD-3-Clause
"""`owngil.compare`: one function, run in every way that there is, and what to use for it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .comparison import Comparison

__all__ = ["compare"]


def compare(
    fn: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    workers: int | None = None,
    seconds: float = 30.0,
) -> Comparison:
    """Run `fn` over `items` serially and in pools of every kind, with 1 to `workers` workers.

    workers: at most so many; default: the CPUs that this process may use.
    seconds: about how long it may take; of many items only as many are taken as that allows.

    The ways take turns, again and again, until the intervals are narrow or the time is over.
    print() shows the table and the recommendation; a notebook shows pictures as well.
    Raises ValueError, with a sentence, for what cannot be compared: a call that fails, no items,
    one call that alone takes too long.
    """
    from .measure import measure

    return measure(fn, items, workers=workers, seconds=seconds)

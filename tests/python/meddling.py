# SPDX-License-Identifier: BSD-3-Clause
"""What takes from a map or closes it in the wrong moment: while that map is executing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

results: Any = None  # the map; nothing in a worker


def close() -> None:
    if results is not None:
        results.close()


def take() -> None:
    if results is not None:
        next(results)


class WhenPickled:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        self.call()
        return type(None), ()


class WhenUnpickled:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call, ()


def answer(number: int, call: Callable[[], None]) -> WhenUnpickled | int:
    return WhenUnpickled(call) if number == 3 else number

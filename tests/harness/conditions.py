# SPDX-License-Identifier: BSD-3-Clause
"""Waiting for a condition that nothing signals, such as the end of a stranger's process.

A test states what must become true; how long that may take is decided here alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 30.0
LOOK_AGAIN_S = 0.005


def wait_until[T](condition: Callable[[], T], what: str = "", patience_s: float = PATIENCE_S) -> T:
    """Return the condition's first true value; fail when it stays false."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still not so after {patience_s:g} s: {what or condition!r}")
        time.sleep(LOOK_AGAIN_S)
    return value

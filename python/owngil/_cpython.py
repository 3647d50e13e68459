# SPDX-License-Identifier: BSD-3-Clause
"""What interpreters with a GIL of their own may do, by version of CPython, and why.

Measured: cycles of create, import, work and end, in 1 to 8 threads of one process.
"""

from __future__ import annotations

import sys

__all__ = ["Interpreters", "interpreters"]


class Interpreters:
    """What a version allows."""

    __slots__ = ("alone", "end_in_place", "wakes")

    def __init__(self, *, end_in_place: bool, alone: bool, wakes: bool) -> None:
        self.end_in_place = end_in_place  # others may begin in that process, any number of times
        self.alone = alone  # no two may begin or end at the same time
        self.wakes = wakes  # a signal lets `sleep`, `read` and `select` raise what was left there


# From which sys.hexversion on, the newest first.
_VERSIONS = (
    # 3.15 looks for asynchronous exceptions where it looks for signals (cpython#144748).
    (0x030F_0000, Interpreters(end_in_place=True, alone=False, wakes=True)),
    # 3.14.10: 600 cycles leave 0 kB, and 4,700 of them, up to 8 at a time, no crash.
    (0x030E_0AF0, Interpreters(end_in_place=True, alone=False, wakes=False)),
    # 3.13 leaves 1.5 to 4.5 MB a cycle, and crashes when two begin or end at once. Reports of
    # 3.14.0 to 3.14.9 say that they leave memory, too.
    (0x030D_0000, Interpreters(end_in_place=False, alone=True, wakes=False)),
)


def interpreters() -> Interpreters:
    """Of the running version. RuntimeError: it can have none, and why."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise RuntimeError(
            "this Python has no GIL, so there is nothing for interpreters to own: use "
            'kind="thread", whose threads run in parallel here, or kind="process".'
        )
    for since, allowed in _VERSIONS:
        if sys.hexversion >= since:
            return allowed
    raise RuntimeError(
        'kind="interpreter" needs CPython 3.13 or later: 3.12 initializes extension modules '
        "inside the interpreters, which crashes the process when two of them import datetime "
        'or hashlib. Use kind="process", which is as fast.'
    )

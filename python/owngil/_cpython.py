# SPDX-License-Identifier: BSD-3-Clause
"""What interpreters with a GIL of their own may do, by version of CPython, and why.

Measured: cycles of create, import, work and end, in 1 to 8 threads of one process.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from collections import namedtuple

__all__ = ["Interpreters", "interpreters"]

if TYPE_CHECKING:

    class Interpreters(NamedTuple):
        since: int  # sys.hexversion
        end_in_place: bool  # one may end and another begin in the same process, any number of times
        alone: bool  # no two may begin or end at the same time
        why: str

else:
    Interpreters = namedtuple("Interpreters", ("since", "end_in_place", "alone", "why"))

_VERSIONS = (
    Interpreters(
        0x030E_0AF0,
        True,
        False,
        "3.14.10: 600 cycles leave 0 kB, and 4,700 of them, up to 8 at a time, no crash",
    ),
    Interpreters(
        0x030D_0000,
        False,
        True,
        "3.13 leaves 1.5 to 4.5 MB a cycle, and crashes when two begin or end at once; reports of "
        "3.14.0 to 3.14.9 say that they leave memory, too",
    ),
)


def interpreters() -> Interpreters:
    """Of the running version. RuntimeError: it can have none, and why."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise RuntimeError(
            "this Python has no GIL, so there is nothing for interpreters to own: use "
            'kind="thread", whose threads run in parallel here, or kind="process".'
        )
    for version in _VERSIONS:
        if sys.hexversion >= version.since:
            return version
    raise RuntimeError(
        'kind="interpreter" needs CPython 3.13 or later: 3.12 initializes extension modules '
        "inside the interpreters, which crashes the process when two of them import datetime "
        'or hashlib. Use kind="process", which is as fast.'
    )

# SPDX-License-Identifier: BSD-3-Clause
"""How much memory this process may use: the machine's, and the limits of its cgroups.

Threads: any.
Not: how much is free. That changes while one looks.
"""

from __future__ import annotations

import os

from ._cgroups import limit_files, read

__all__ = ["usable_memory"]


def usable_memory() -> int:
    """In bytes."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = limit_files("memory", ("memory.limit_in_bytes",), ("memory.max", "memory.high"))
    limits = [(read(file) or "").strip() for file in files]
    # No limit is "max", or more than any machine has.
    return min([machine, *(int(limit) for limit in limits if limit.isdigit())])

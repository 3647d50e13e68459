# SPDX-License-Identifier: BSD-3-Clause
"""How large an arena may be: address space, not memory; pages are committed as they are used.

Threads: any.
Not: a limit of what may be in use.
"""

from __future__ import annotations

import resource

__all__ = ["arena_size"]

_SIZE = 1 << 36
_SMALLEST = 1 << 24


def arena_size(arenas: int) -> int:
    """The size of each of so many, under RLIMIT_AS (`ulimit -v`) as well."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return _SIZE
    share = int(limit) // (8 * arenas)
    return max(_SMALLEST, min(_SIZE, share // _SMALLEST * _SMALLEST))

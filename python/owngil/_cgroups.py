# SPDX-License-Identifier: BSD-3-Clause
"""The files in which limits of this process's cgroups, and of the groups that these are in, stand.

Where they are is remembered for as long as the process stays in its cgroups; what they say is not.
Both versions of cgroups are read.
Threads: any.
Not: what the files say; that is whoever asks for them's to read.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["limit_files", "read"]

_CGROUPS = "/sys/fs/cgroup"
_OWN_CGROUPS = "/proc/self/cgroup"

# By controller: what _OWN_CGROUPS said, and the files that there were.
_known: dict[str, tuple[str, list[str]]] = {}


def limit_files(controller: str, version1: tuple[str, ...], version2: tuple[str, ...]) -> list[str]:
    """Those with these names that exist. `controller`: as version 1 calls it."""
    groups = read(_OWN_CGROUPS) or ""
    known = _known.get(controller)
    if known is None or known[0] != groups:
        known = groups, list(_existing(groups, controller, version1, version2))
        _known[controller] = known
    return known[1]


def _existing(
    groups: str, controller: str, version1: tuple[str, ...], version2: tuple[str, ...]
) -> Iterator[str]:
    for line in groups.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            folder, names = _CGROUPS, version2
        elif controller in controllers.split(","):
            folder, names = f"{_CGROUPS}/{controller}", version1
        else:
            continue
        # A container may see its own group as the root, and what lies above not at all.
        while True:
            for name in names:
                file = f"{folder}{path.rstrip('/')}/{name}"
                if os.path.exists(file):
                    yield file
            if path in ("/", ""):
                break
            path = os.path.dirname(path)


def read(path: str) -> str | None:
    """None: it cannot be read. Half of what open() costs, which makes a text file of it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while part := os.read(fd, 1 << 16):
                parts.append(part)
        finally:
            os.close(fd)
    except OSError:
        return None
    return b"".join(parts).decode()

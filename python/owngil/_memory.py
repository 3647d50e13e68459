# SPDX-License-Identifier: BSD-3-Clause
"""How much memory this process may use: the machine's, and the limits of its cgroups.

Threads: any.
Not: how much is free. That changes while one looks.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["usable_memory"]

_CGROUPS = "/sys/fs/cgroup"
_OWN_CGROUPS = "/proc/self/cgroup"


def usable_memory() -> int:
    """In bytes."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits()])


def _limits() -> Iterator[int]:
    """Of this process's cgroup and its ancestors."""
    for line in _read(_OWN_CGROUPS).splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            folder, names = _CGROUPS, ["memory.max", "memory.high"]
        elif "memory" in controllers.split(","):
            folder, names = f"{_CGROUPS}/memory", ["memory.limit_in_bytes"]
        else:
            continue
        # A container may see its own group as the root, and what lies above not at all.
        while True:
            for name in names:
                text = _read(f"{folder}{path.rstrip('/')}/{name}").strip()
                if text.isdigit():  # no limit is "max", or more than any machine has
                    yield int(text)
            if path in ("/", ""):
                break
            path = os.path.dirname(path)


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 1 << 16).decode()
        finally:
            os.close(fd)
    except OSError:
        return ""

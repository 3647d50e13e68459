# SPDX-License-Identifier: BSD-3-Clause
"""What the shared memory of pools takes up, as the process sees it that asks."""

from __future__ import annotations

import os


def held(name: str) -> dict[int, int]:
    """The bytes of each memfd of that name that is open here, by inode."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            if name in os.readlink(f"/proc/self/fd/{fd}"):
                status = os.stat(int(fd))
                found[status.st_ino] = status.st_blocks * 512
        except OSError:
            continue
    return found

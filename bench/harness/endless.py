# SPDX-License-Identifier: BSD-3-Clause
"""A task that never ends, and says when it began and when it was stopped. Runs in workers.

By itself in a module that imports next to nothing: a limit holds for the import too.
"""

import mmap
import os
import struct
import time


def spin(stamps: str, held_bytes: int = 0) -> None:
    """Notes when it begins and when it is stopped; between the two it computes for ever."""
    fd = os.open(stamps, os.O_WRONLY)
    os.pwrite(fd, struct.pack("q", time.monotonic_ns()), 0)
    held = bytearray(held_bytes)
    for at in range(0, held_bytes, mmap.PAGESIZE):
        held[at] = 1
    try:
        while True:
            pass
    finally:
        os.pwrite(fd, struct.pack("q", time.monotonic_ns()), 8)
        os.close(fd)


class Stamps:
    """Where a task notes its times, in nanoseconds of the monotonic clock."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("stamps")
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        self.clear()

    def clear(self) -> None:
        os.pwrite(self._fd, bytes(16), 0)

    def read(self) -> tuple[int, int]:
        begun, stopped = struct.unpack("qq", os.pread(self._fd, 16, 0))
        return begun, stopped

    def wait_for_begun(self) -> None:
        while not self.read()[0]:
            time.sleep(0.0005)

    def close(self) -> None:
        os.close(self._fd)

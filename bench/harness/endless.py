# SPDX-License-Identifier: BSD-3-Clause
"""Tasks that never end, and say when they began and when they were stopped. Run in workers.

By itself in a module that imports next to nothing: a limit holds for the import too.
"""

import mmap
import os
import struct
import time


class _Noted:
    """Notes when the block begins and when it is left."""

    def __init__(self, stamps: str) -> None:
        self._fd = os.open(stamps, os.O_WRONLY)

    def __enter__(self) -> None:
        os.pwrite(self._fd, struct.pack("q", time.monotonic_ns()), 0)

    def __exit__(self, *raised: object) -> None:
        os.pwrite(self._fd, struct.pack("q", time.monotonic_ns()), 8)
        os.close(self._fd)


def spin(stamps: str, held_bytes: int = 0) -> None:
    """Computes for ever, with so much memory."""
    with _Noted(stamps):
        held = bytearray(held_bytes)
        for at in range(0, held_bytes, mmap.PAGESIZE):
            held[at] = 1
        while True:
            pass


def sleep(stamps: str) -> None:
    """Sleeps for ever."""
    with _Noted(stamps):
        while True:
            time.sleep(3600)


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

# SPDX-License-Identifier: BSD-3-Clause
"""A large buffer inside of an object, as pickle 5 carries it: apart from the pickle.

Runs in workers and in the user's process; needs no NumPy.
"""

from __future__ import annotations

import zlib
from pickle import PickleBuffer
from typing import Any


class Blob:
    """Bytes that lie wherever they arrived; equal to any with the same ones."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def checksum(self) -> int:
        return zlib.crc32(self.data)

    def scribble(self, number: int) -> None:
        """Writes to some of its pages, which nobody else may see."""
        view = memoryview(self.data)
        for at in range(number % 8191, len(view), 8191):
            view[at] ^= 0xFF

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blob) and bytes(self.data) == bytes(other.data)

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Blob, (PickleBuffer(self.data),)

    def __repr__(self) -> str:
        return f"Blob({len(memoryview(self.data))} bytes, checksum {self.checksum():#x})"

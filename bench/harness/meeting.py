# SPDX-License-Identifier: BSD-3-Clause
"""A place where tasks wait, so that several workers are known to be in a task at once."""

import os
import socket
from types import TracebackType
from typing import Self

_PATIENCE_S = 60.0


class Meeting:
    """Pass `address` to `work.meet`; `gather(n)` returns once n tasks have come."""

    _count = 0

    def __init__(self) -> None:
        Meeting._count += 1
        self.address = f"owngil-bench-{os.getpid()}-{Meeting._count}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind("\0" + self.address)
        self._listener.listen(1024)
        self._listener.settimeout(_PATIENCE_S)
        self._present: list[socket.socket] = []

    def gather(self, tasks: int) -> None:
        """Wait until so many more tasks have come; they stay."""
        for _ in range(tasks):
            self._present.append(self._listener.accept()[0])

    def close(self) -> None:
        """Let every task go."""
        for connection in self._present:
            connection.close()
        self._present.clear()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

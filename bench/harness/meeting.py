# SPDX-License-Identifier: BSD-3-Clause
"""A place where tasks wait, so that several workers are known to be in a task at once."""

import os
import select
import shutil
import tempfile
from types import TracebackType
from typing import Self

_PATIENCE_S = 60.0


class Meeting:
    """Pass `address` to `work.meet`; `gather(n)` returns once n more tasks have come.

    Two named pipes: each task writes a byte into one, and waits for one from the other.
    """

    def __init__(self) -> None:
        self.address = tempfile.mkdtemp(prefix="owngil-bench-")
        for name in ("gate", "arrivals"):
            os.mkfifo(f"{self.address}/{name}")
        self._gate = os.open(f"{self.address}/gate", os.O_RDWR)
        self._arrivals = os.open(f"{self.address}/arrivals", os.O_RDWR)
        self._present = 0

    def gather(self, tasks: int) -> None:
        """Wait until so many more tasks have come; they stay."""
        while tasks:
            if not select.select([self._arrivals], [], [], _PATIENCE_S)[0]:
                raise TimeoutError(f"{tasks} tasks did not come in {_PATIENCE_S:.0f} s")
            come = len(os.read(self._arrivals, tasks))
            tasks -= come
            self._present += come

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let every task go."""
        os.write(self._gate, b"g" * self._present)
        os.close(self._gate)
        os.close(self._arrivals)
        shutil.rmtree(self.address)

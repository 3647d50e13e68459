# SPDX-License-Identifier: BSD-3-Clause
"""The floor of every pool: bare `os.fork`, and one counter from which the children take tasks.

The counter is the file offset of a memfd that holds the tasks, eight bytes each. The children
inherit one open file description, and the kernel lets one reader of it at a time take its bytes
and move the offset, so `os.read(fd, 8)` is a fetch-and-add: 1 to 3 µs, no lock of ours, no
queue, nothing to wake. A pipe each way says go and done.
The children are forked once and kept, as a pool keeps its workers.
"""

import os
import struct
from array import array
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

_DONE = struct.Struct("qq")  # tasks done, sum of their results
_GO, _STOP = b"g", b"s"


class Forks:
    """Children that apply `function` to numbers; `run` returns how many tasks, and the sum."""

    def __init__(self, workers: int, function: Callable[[int], int]) -> None:
        memfd = os.memfd_create("owngil-bench-tasks")
        # Opened anew by its name: only a description made by open(2) has its offset moved
        # atomically; memfd_create's own has not, and two readers may get the same task.
        self._tasks = os.open(f"/proc/self/fd/{memfd}", os.O_RDWR)
        os.close(memfd)
        self._go = [os.pipe() for _ in range(workers)]
        self._done = os.pipe()
        self._pids = [self._fork(pipe, function) for pipe in self._go]

    def run(self, tasks: Sequence[int]) -> tuple[int, int]:
        """Have every task done by whichever child is free next."""
        data = array("q", tasks).tobytes()
        os.ftruncate(self._tasks, len(data))
        os.pwrite(self._tasks, data, 0)
        os.lseek(self._tasks, 0, os.SEEK_SET)
        for _, write in self._go:
            os.write(write, _GO)
        count = total = 0
        for _ in self._go:
            one_count, one_total = _DONE.unpack(os.read(self._done[0], _DONE.size))
            count += one_count
            total += one_total
        return count, total

    def pids(self) -> list[int]:
        """The children."""
        return list(self._pids)

    def _fork(self, go: tuple[int, int], function: Callable[[int], int]) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            while os.read(go[0], 1) == _GO:
                count = total = 0
                while task := os.read(self._tasks, 8):
                    total += function(int.from_bytes(task, "little", signed=True))
                    count += 1
                os.write(self._done[1], _DONE.pack(count, total))
        finally:
            os._exit(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for _, write in self._go:
            os.write(write, _STOP)
        for pid in self._pids:
            os.waitpid(pid, 0)
        for fd in (self._tasks, *self._done, *(fd for pipe in self._go for fd in pipe)):
            os.close(fd)

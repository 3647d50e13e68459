# SPDX-License-Identifier: BSD-3-Clause
"""Data that many tasks read: put into shared memory once, and named by each of them.

Where it is an argument, or part of one, the task finds the object that was shared: a read-only
array over the shared memory, the same for all.

Threads: any.
Not: a way to talk. Nobody can write to it, and what the user does to the original is not seen.
"""

from __future__ import annotations

import os
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from . import _core

__all__ = ["Shared"]


class Shared:
    """An object that was shared with the tasks of a pool, by `Pool.share()`.

    Its memory is freed when it is closed, by `with` or `close()`, or let go of, and no task that
    got it looks at it any more. A task of another pool gets a copy.
    """

    __slots__ = ("__weakref__", "_buffers", "_content", "_pid", "nbytes")

    def __init__(self, pool: _core.PoolBase, value: object) -> None:
        data, is_direct, buffers = pool._share(value)
        self._content: tuple[bytes, bool] | None = (data, is_direct)
        self._buffers: list[memoryview] = buffers
        self._pid = os.getpid()
        self.nbytes = sum(buffer.nbytes for buffer in buffers)

    def close(self) -> None:
        """Free it as soon as no task has it; from now on it cannot be an argument."""
        self._content = None
        self._buffers = []

    def __enter__(self) -> Shared:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._content is None:
            raise ValueError("this shared data was closed: share it again, or close it later")
        if self._pid != os.getpid():
            raise RuntimeError("this shared data belongs to the parent process: share it anew")
        return _load, (*self._content, *map(PickleBuffer, self._buffers))

    def __repr__(self) -> str:
        state = "closed" if self._content is None else f"{self.nbytes} bytes"
        return f"<owngil.Shared: {state}>"


def _load(data: bytes, is_direct: bool, *buffers: Any) -> Any:
    if is_direct:
        from ._direct import loads as load

        return load(data, list(buffers))
    from _pickle import loads

    return loads(data, buffers=buffers)

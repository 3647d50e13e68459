# SPDX-License-Identifier: BSD-3-Clause
"""Data that many tasks read: put into shared memory once, or made there, and named by each of them.

Where it is an argument, or part of one, the task finds the object that was shared: a read-only
array over the shared memory, the same for all.

Threads: any.
Not: a way to talk. Nobody can write to it, and what the user does to the original is not seen.
"""

from __future__ import annotations

import os
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any

from . import _core
from ._arena_size import arena_size

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import DTypeLike, NDArray

__all__ = ["Shared", "buffer", "empty", "zeros"]

# Of a process with a pool of two: arguments, the results of each, shared memory.
_ARENAS = 4


def buffer(nbytes: int) -> memoryview:
    """So many zeros in shared memory, to be written to: `pool.share()` copies none of it.

    Raises MemoryError if there is none. A child of fork() writes to the same memory, until it is
    shared with tasks.
    """
    if nbytes < 0:
        raise ValueError(f"nbytes must not be less than 0, not {nbytes}")
    return _make(nbytes, zeroed=True)


def empty(shape: int | tuple[int, ...], dtype: DTypeLike = float) -> NDArray[Any]:
    """As `numpy.empty`, in shared memory: `pool.share()` copies none of it. See `buffer`."""
    return _array(shape, dtype, zeroed=False)


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike = float) -> NDArray[Any]:
    """As `numpy.zeros`, in shared memory: `pool.share()` copies none of it. See `buffer`."""
    return _array(shape, dtype, zeroed=True)


def _array(shape: int | tuple[int, ...], dtype: DTypeLike, *, zeroed: bool) -> NDArray[Any]:
    import numpy

    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise TypeError(f"an array of {kind} has references, which other processes cannot follow")
    whole = numpy.broadcast_to(numpy.zeros((), kind), shape)  # checks the shape
    return numpy.ndarray(whole.shape, kind, _make(whole.nbytes, zeroed=zeroed))


def _make(nbytes: int, *, zeroed: bool) -> memoryview:
    if nbytes == 0:
        return memoryview(bytearray())
    return _core.make_shared(nbytes, zeroed, arena_size(_ARENAS))


class Shared:
    """An object that was shared with tasks, by `Pool.share()`; for those of other pools as well.

    Its memory is freed when it is closed, by `with` or `close()`, or let go of, and no task that
    got it looks at it any more.
    """

    __slots__ = ("__weakref__", "_buffers", "_content", "_pid", "nbytes")

    def __init__(self, value: object) -> None:
        data, is_direct, buffers = _core.share_value(value, arena_size(_ARENAS))
        self._content: tuple[bytes, bool] | None = (data, is_direct)
        self._buffers: list[_core.SharedBuffer] = buffers
        self._pid = os.getpid()
        self.nbytes = sum(memoryview(one).nbytes for one in buffers)

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

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if self._content is None:
            raise ValueError("this shared data was closed: share it again, or close it later")
        if self._pid != os.getpid():
            raise RuntimeError("this shared data belongs to the parent process: share it anew")
        kind: type[Any] = PickleBuffer if protocol >= 5 else bytes  # other executors ask for less
        return _load, (*self._content, *map(kind, self._buffers))

    def __repr__(self) -> str:
        state = "closed" if self._content is None else f"{self.nbytes} bytes"
        return f"<owngil.Shared: {state}>"


def _load(data: bytes, is_direct: bool, *buffers: Any) -> Any:
    if is_direct:
        from ._direct import loads as load

        return load(data, list(buffers))
    from _pickle import loads

    return loads(data, buffers=buffers)

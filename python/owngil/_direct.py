# SPDX-License-Identifier: BSD-3-Clause
"""Pickles large bytes, bytearrays, memoryviews and arrays apart from their bytes.

Pickle 5 lets objects hand out their buffers, but not these types of Python's own: it copies them
into the stream, or refuses. Here they are persistent objects, of which only what it takes to make
them anew is in the stream. One that owns its memory (all but memoryview) is a copy where it
arrives; that memory is then nobody's but the interpreter's.

Threads: any; one pickler is used by one.
Not: for anything that `BufferCollector.has_direct` does not find near the top of a value.
"""

from __future__ import annotations

from _pickle import Pickler, Unpickler
from io import BytesIO
from typing import TYPE_CHECKING, Any

from ._core import copy_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core import BufferCollector

__all__ = ["dumps", "loads"]


def dumps(value: object, collector: BufferCollector) -> bytes:
    stream = BytesIO()
    _Pickler(stream, collector).dump(value)
    return stream.getvalue()


def loads(data: bytes, buffers: list[Any]) -> Any:
    made: list[Any] = []

    def persistent_load(number: Any) -> Any:
        if isinstance(number, int):
            return made[number]
        made.append(_make(*number))
        return made[-1]

    return _Unpickler(BytesIO(data), buffers, persistent_load).load()


# The base classes look for these attributes when they are made, or later; and those of 3.13.0 take
# them of a subclass only.
class _Pickler(Pickler):
    def __init__(self, stream: BytesIO, collector: BufferCollector) -> None:
        self.persistent_id = collector.persistent_id  # type: ignore[method-assign]
        super().__init__(stream, 5, buffer_callback=collector)


class _Unpickler(Unpickler):
    def __init__(self, stream: BytesIO, buffers: list[Any], load: Callable[[Any], Any]) -> None:
        self.persistent_load = load  # type: ignore[method-assign]
        super().__init__(stream, buffers=buffers)


def _make(kind: str, buffer: Any, *how: Any) -> Any:
    if kind == "bytes":
        return copy_to_bytes(buffer)
    if kind == "bytearray":
        return bytearray(buffer)
    if kind == "array":
        from array import array

        made = array(how[0])
        made.frombytes(buffer)
        return made
    code, shape, is_readonly = how
    view = memoryview(buffer).cast("B")
    if 0 in shape:
        view = memoryview(bytearray(_item_size(code))).cast(code)[:0]
    else:
        view = view.cast(code, shape)
    return view.toreadonly() if is_readonly else view


def _item_size(code: str) -> int:
    from struct import calcsize

    return calcsize(code)

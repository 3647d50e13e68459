# SPDX-License-Identifier: BSD-3-Clause
"""Numbers for functions: one number, one blob that the workers get once.

Threads: any, with the GIL. A number that is dropped may still be named by tasks that were
submitted before; whoever keeps the blobs counts those.
Lifetime: a pool's. A function that dies takes its number with it.
Not: an owner of functions. They are held weakly; a few that cannot be are held for a while.
"""

from __future__ import annotations

import sys
import weakref
from _thread import RLock
from types import MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._captures import Captures

__all__ = ["FunctionTable", "full_name", "reference"]

# The first byte of a blob: where the function is; the function; one to be loaded for each call.
BY_REFERENCE, BY_VALUE, BY_VALUE_AFRESH = b"R", b"V", b"A"

_HELD = 64  # callables that cannot be referred to weakly: more only cost a second shipment
_SHORT = 1024
_LONGEST_NAME = 200


class _Entry:
    __slots__ = ("anchor", "captures", "fingerprint", "number")

    def __init__(
        self, number: int, captures: Captures | None, fingerprint: bytes, anchor: object
    ) -> None:
        self.number = number
        self.captures = captures  # None: nothing that could change
        self.fingerprint = fingerprint
        self.anchor = anchor  # a weakref to the function, or the function


class FunctionTable:
    def __init__(
        self,
        add_blob: Callable[[bytes, bytes], int],
        drop_blob: Callable[[int], None],
        succeed: Callable[[int, int], None],
    ) -> None:
        """`succeed(number, before)`: it is the same function, in another state."""
        self._add_blob = add_blob
        self._drop_blob = drop_blob
        self._succeed = succeed
        self._entries: dict[object, _Entry] = {}
        self._held: dict[object, None] = {}  # keys, the oldest first
        self._lock = RLock()  # a weakref's callback may come while we hold it

    def number(self, function: Callable[..., Any]) -> int:
        """The number under which workers know the function as it is now."""
        # An entry leaves the table before its function's id can be another object's.
        entry = self._entries.get(id(function))
        if entry is not None:
            captures = entry.captures
            if captures is None or captures.unchanged():
                return entry.number
        return self._number_anew(function)

    def known(self, function: Callable[..., Any]) -> int:
        """The number under which it was sent last; 0: it never was."""
        entry = self._entries.get(_key(function))
        return entry.number if entry is not None else 0

    def lasts(self, function: Callable[..., Any]) -> bool:
        """Whether its present number holds as long as the function lives."""
        entry = self._entries.get(id(function))
        return entry is not None and entry.captures is None and id(function) not in self._held

    def close(self) -> None:
        """Forgets everything, and drops nothing: the blobs go with the pool."""
        with self._lock:
            self._entries.clear()
            self._held.clear()

    def _number_anew(self, function: Callable[..., Any]) -> int:
        key = _key(function)
        owner: object = function
        if type(function) is MethodType:
            owner = function.__self__
            entry = self._entries.get(key)
            if entry is not None and entry.captures is not None and entry.captures.unchanged():
                return entry.number
        # First what it captures, then the bytes: if another thread rebinds something in between,
        # the next call finds that it has changed.
        captures, blob = _survey_and_encode(function)
        fingerprint = _fingerprint(blob)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.fingerprint == fingerprint:
                entry.captures = captures
                return entry.number
            number = self._add_blob(blob, full_name(function).encode(errors="backslashreplace"))
            if entry is not None:
                self._succeed(number, entry.number)
                self._drop_blob(entry.number)
                self._entries[key] = _Entry(number, captures, fingerprint, entry.anchor)
            else:
                anchor = self._anchor(key, owner, function)
                self._entries[key] = _Entry(number, captures, fingerprint, anchor)
            return number

    def _anchor(self, key: object, owner: object, function: object) -> object:
        table = weakref.ref(self)

        def forget(_: weakref.ref[object]) -> None:
            alive = table()
            if alive is not None:
                alive._forget(key)

        try:
            return weakref.ref(owner, forget)
        except TypeError:
            self._held[key] = None
            if len(self._held) > _HELD:
                oldest = next(iter(self._held))
                del self._held[oldest]
                self._forget(oldest)
            return function

    def _forget(self, key: object) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._drop_blob(entry.number)


def _key(function: Callable[..., Any]) -> object:
    if type(function) is MethodType:
        # `thing.method` is a new object every time.
        return id(function.__self__), id(function.__func__)
    return id(function)


def full_name(function: object) -> str:
    """Module and qualified name, for people; of what has none, those of its type."""
    from functools import partial

    if type(function) is partial:
        return f"functools.partial({full_name(function.func)})"[:_LONGEST_NAME]
    try:
        for named in (function, getattr(function, "__wrapped__", None)):
            name = getattr(named, "__qualname__", None) or getattr(named, "__name__", None)
            if isinstance(name, str):
                return _qualified(getattr(named, "__module__", None), name)
    except Exception:  # of a __getattr__ of the user's
        pass
    kind = type(function)
    return _qualified(kind.__module__, kind.__qualname__)


def _qualified(module: object, name: str) -> str:
    known = isinstance(module, str) and module != "builtins"
    return (f"{module}.{name}" if known else name)[:_LONGEST_NAME]


def reference(function: object) -> tuple[str, str] | None:
    """Module and qualified name under which a worker can import it, if there are any."""
    module_name = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not isinstance(module_name, str) or not isinstance(name, str):
        return None
    if module_name in ("__main__", "__mp_main__"):
        return None
    found: Any = sys.modules.get(module_name)
    if found is None or _is_registered_by_value(found):
        return None
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            return None
    return (module_name, name) if found is function else None


def _is_registered_by_value(module: Any) -> bool:
    cloudpickle: Any = sys.modules.get("cloudpickle.cloudpickle")
    return cloudpickle is not None and bool(
        cloudpickle._PICKLE_BY_VALUE_MODULES and cloudpickle._is_registered_pickle_by_value(module)
    )


def _survey_and_encode(function: Callable[..., Any]) -> tuple[Captures | None, bytes]:
    place = reference(function)
    if place is not None:
        return None, BY_REFERENCE + "\0".join(place).encode()
    from ._shipping import dumps
    from ._survey import survey

    captures = survey(function)
    try:
        data = dumps(function)
    except Exception as error:
        from ._pickling import naming_the_guilty
        from ._survey import named_parts

        raise naming_the_guilty(error, named_parts(function), dumps) from None
    return captures, (BY_VALUE_AFRESH if captures.reload else BY_VALUE) + data


def _fingerprint(blob: bytes) -> bytes:
    if len(blob) <= _SHORT:
        return blob
    from hashlib import blake2b

    return blake2b(blob).digest()

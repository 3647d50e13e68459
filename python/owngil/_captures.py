# SPDX-License-Identifier: BSD-3-Clause
"""What a callable that travels by value captures, and whether it has changed since.

A capture is *steady* if only rebinding can change it: an immutable value, something importable, or
a function or class whose own captures are steady. Then comparing identities tells, and is fast. One
capture that is not steady (a list, an instance) makes the whole *mutable*: nothing less than
serialising it again tells. `_survey.py` finds out which.

Invariants:
  C1  Nothing here keeps alive what travels by value: functions, classes and what may refer to them
      are held weakly, and what is held strongly (atoms, importable things) does not refer to them.
  C2  `unchanged` never says so wrongly; it may say that something has changed when it has not.
"""

from __future__ import annotations

import weakref
from types import CellType, CodeType, FunctionType
from typing import Any

from . import _restoring

__all__ = ["ABSENT", "NOTHING", "Captures", "Watched"]

ABSENT: Any = _restoring.Empty

_Pairs = tuple[tuple[Any, Any], ...]  # what to look up, what it was
Watched = tuple[_Pairs, _Pairs]  # what is held strongly; what is held by a weakref
NOTHING: Watched = ((), ())

# A function, and its code, defaults, globals, cells, keyword defaults, attributes.
_FunctionWatch = tuple[weakref.ref[FunctionType], CodeType, Any, Watched, Watched, Watched, Watched]
# A class, how many attributes it has, its bases, its attributes, and those that are made of
# functions: their type, and which attributes of theirs hold what.
_ClassWatch = tuple[weakref.ref[type], int, Watched, Watched, tuple[tuple[str, type, Watched], ...]]


class Captures:
    def __init__(self) -> None:
        self.mutable = False
        self.stores = False  # into something that outlives the call
        self.functions: list[_FunctionWatch] = []
        self.classes: list[_ClassWatch] = []
        self.keywords: list[tuple[weakref.ref[Any], Watched]] = []  # of partial objects

    @property
    def reload(self) -> bool:
        """Whether a call may leave something behind that the next one must not see."""
        return self.mutable or self.stores

    def unchanged(self) -> bool:
        if self.mutable:
            return False
        for ref, code, defaults, names, cells, keyword_defaults, attributes in self.functions:
            function = ref()
            if (
                function is None
                or function.__code__ is not code
                or function.__defaults__ is not defaults
            ):
                return False
            look_up = function.__globals__.get
            for name, value in names[0]:
                if look_up(name, ABSENT) is not value:
                    return False
            for name, reference in names[1]:
                if look_up(name, ABSENT) is not reference():
                    return False
            if function.__closure__ is not None and not _same_cells(function.__closure__, cells):
                return False
            now = function.__kwdefaults__
            if (now or keyword_defaults is not NOTHING) and not _same(now or {}, keyword_defaults):
                return False
            now = function.__dict__
            if (now or attributes is not NOTHING) and not _same(now, attributes):
                return False
        if self.classes and not all(map(_same_class, self.classes)):
            return False
        return not self.keywords or all(map(_same_keywords, self.keywords))


def _same(now: dict[str, Any], watched: Watched) -> bool:
    return len(now) == len(watched[0]) + len(watched[1]) and _same_items(now, watched)


def _same_items(now: Any, watched: Watched) -> bool:
    look_up = now.get
    for key, value in watched[0]:
        if look_up(key, ABSENT) is not value:
            return False
    for key, reference in watched[1]:  # noqa: SIM110 - a generator is slower
        if look_up(key, ABSENT) is not reference():
            return False
    return True


def _same_cells(closure: tuple[CellType, ...], watched: Watched) -> bool:
    try:
        for index, value in watched[0]:
            if closure[index].cell_contents is not value:
                return False
        for index, reference in watched[1]:
            if closure[index].cell_contents is not reference():
                return False
    except ValueError:  # emptied
        return False
    return True


def _same_class(watch: _ClassWatch) -> bool:
    ref, size, bases, attributes, composed = watch
    cls = ref()
    if cls is None:
        return False
    now = vars(cls)
    if len(now) != size or not _same_items(now, attributes):
        return False
    if not _same_items(dict(enumerate(cls.__bases__)), bases):
        return False
    for name, kind, parts in composed:
        value = now.get(name)
        if type(value) is not kind:
            return False
        for part, expected in parts[0]:
            if getattr(value, part) is not expected:
                return False
        for part, reference in parts[1]:
            if getattr(value, part) is not reference():
                return False
    return True


def _same_keywords(watch: tuple[weakref.ref[Any], Watched]) -> bool:
    partial = watch[0]()
    return partial is not None and _same(partial.keywords, watch[1])

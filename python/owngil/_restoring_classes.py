# SPDX-License-Identifier: BSD-3-Clause
"""Puts classes that travelled by value back together, once each.

A class has a number for life (cloudpickle's tracker). The process that made the class resolves the
number to that very class; every other one makes a copy, keeps it, and brings its attributes up to
date whenever it arrives again. A copy of a class of `__main__` also gets its name there, so that
what the worker pickles by reference resolves, in the user's process, to the user's class.

Threads: any, one at a time, with the GIL.
Not: what is sent; see `_shipping.py`.
"""

from __future__ import annotations

import weakref
from typing import Any

from cloudpickle import cloudpickle  # type: ignore[import-untyped]

from . import _restoring

# The copies in this process, with the names of the attributes that they got last.
_copies: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()
# Attributes of copies that the initializer changed here.
_pinned: weakref.WeakKeyDictionary[type, set[str]] = weakref.WeakKeyDictionary()


def tracker_number(cls: type) -> str:
    number: str = cloudpickle._get_or_create_tracker_id(cls)
    return number


def is_copy(cls: type) -> bool:
    return cls in _copies


def restore_class(maker: str, arguments: tuple[Any, ...], place: str | None) -> type:
    """`maker`: cloudpickle's; its arguments hold the number. `place`: the name in `__main__`."""
    cls = _known(arguments[-2])
    if cls is None:
        cls = getattr(cloudpickle, maker)(*arguments)
        assert isinstance(cls, type)
        _copies[cls] = frozenset()
    if place is not None:
        _restoring.note((_restoring.MAIN, {place: cls}, ()))
    return cls


def set_class_state(cls: type, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    former = _copies.get(cls)
    if former is None:
        return  # it was made here: what it is stands here
    attributes = state[0]
    kept = _pinned.get(cls, set())
    for name in former - attributes.keys() - kept:
        if name in cls.__dict__:
            delattr(cls, name)
    _copies[cls] = frozenset(attributes)
    if kept:
        attributes = {name: value for name, value in attributes.items() if name not in kept}
    cloudpickle._class_setstate(cls, (attributes, state[1]))


def known_class(number: str, definition: bytes) -> type:
    """The class made here that has this number; if it is gone, a copy made from its definition."""
    cls = _known(number)
    if cls is None:
        from _pickle import loads

        cls = loads(definition)
        assert isinstance(cls, type)
    return cls


def attributes_of_copies() -> dict[type, dict[str, Any]]:
    return {cls: dict(vars(cls)) for cls in list(_copies)}


def pin_changes(before: dict[type, dict[str, Any]]) -> None:
    for cls, attributes in before.items():
        now = vars(cls)
        changed = {
            name
            for name in attributes.keys() | now.keys()
            if attributes.get(name, _restoring.Empty) is not now.get(name, _restoring.Empty)
        }
        if changed:
            _pinned.setdefault(cls, set()).update(changed)


def _known(number: str) -> type | None:
    cls: type | None = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
    return cls

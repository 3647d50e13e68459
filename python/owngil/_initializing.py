# SPDX-License-Identifier: BSD-3-Clause
"""Runs the user's initializer in a worker, and pins what it changes.

The initializer leaves things in globals for the tasks to find, while every task brings a snapshot
of the globals as they are in the user's process. So what differs after the initializer from what
was there before stays as the initializer left it.

Threads: the worker's main thread. Once in a worker's life.
"""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from . import _restoring

if TYPE_CHECKING:
    from collections.abc import Callable

_Names = dict[str, Any]


def run(function: Callable[..., Any], arguments: bytes, fds: list[int]) -> None:
    from ._mp import load_initargs

    initargs = load_initargs(arguments, fds)
    home = _home(function)
    before = {module: dict(names) for module, names in _restoring.namespaces().items()}
    contents = {module: _contents(names) for module, names in before.items()}
    home_before = dict(vars(home)) if home is not None else {}
    classes: Any = sys.modules.get("owngil._restoring_classes")
    attributes = classes.attributes_of_copies() if classes is not None else {}

    function(*initargs)

    if classes is not None:
        classes.pin_changes(attributes)
    for module, names in _restoring.namespaces().items():
        then, contents_then = before.get(module, {}), contents.get(module, {})
        changed = _rebound(then, names)
        changed |= {
            name
            for name in contents_then.keys() - changed
            if _content(names[name]) != contents_then[name]
        }
        _restoring.pin(module, changed)
        if module != _restoring.MAIN:
            _hand_over(module, {name: names[name] for name in changed if name in names})
    if home is not None:
        changed = _rebound(home_before, vars(home))
        _restoring.pin(home.__name__, changed)
        names = _restoring.namespace(home.__name__)
        names.update((name, vars(home)[name]) for name in changed if name in vars(home))


def _home(function: Callable[..., Any]) -> ModuleType | None:
    """The module whose globals an importable initializer sets."""
    names = getattr(function, "__globals__", None)
    module = sys.modules.get(names.get("__name__", "")) if names is not None else None
    if module is None or module.__name__ == _restoring.MAIN or vars(module) is not names:
        return None
    return module


def _hand_over(module: str, changed: _Names) -> None:
    """A local function of an importable module: that module's functions look in the module."""
    if not changed:
        return
    try:
        __import__(module)
    except ImportError:
        return
    vars(sys.modules[module]).update(changed)


def _rebound(before: _Names, now: _Names) -> set[str]:
    absent = _restoring.Empty
    return {
        name
        for name in before.keys() | now.keys()
        if before.get(name, absent) is not now.get(name, absent) and name != "__builtins__"
    }


def _contents(names: _Names) -> dict[str, bytes | None]:
    return {
        name: _content(value)
        for name, value in names.items()
        if not isinstance(value, (type, ModuleType, FunctionType, str, int, float, type(None)))
        and not name.startswith("__")
    }


def _content(value: object) -> bytes | None:
    from ._shipping import dumps

    try:
        return dumps(value)
    except Exception:
        return None

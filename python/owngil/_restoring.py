# SPDX-License-Identifier: BSD-3-Clause
"""Puts functions that travelled by value back together in the worker.

A function sees its globals through a *namespace*. For the user's `__main__` that is this
process's own `__main__`; for any other module a dictionary of its own, never the module itself,
whose objects may have an identity that others rely on. All functions of a module share one, so
that what an initializer sets there is seen by the tasks. A function brings a *snapshot* of the
globals that it refers to; it is applied when the function is loaded, and again when another
function has run in between. A *pinned* name was changed by the initializer: no snapshot touches it.

Threads: the worker's main thread.
Not: for classes; see `_restoring_classes.py`. Imports nothing that a bare interpreter lacks.
"""

from __future__ import annotations

import builtins
import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CellType, CodeType, FunctionType, ModuleType
    from typing import Any

    Snapshot = tuple[str, dict[str, Any], tuple[str, ...]]  # module; present names; absent names
else:
    FunctionType = type(lambda: None)
    CellType = type((lambda content: lambda: content)(None).__closure__[0])

MAIN = "__main__"
# Under multiprocessing the user's __main__ may have this name as well.
MAIN_NAMES = (MAIN, "__mp_main__")

_namespaces: dict[str, dict[str, Any]] = {}
_pinned: dict[str, set[str]] = {}
# Where snapshots are noted while a function is loaded; None: nobody wants to know.
_noted: list[Snapshot] | None = None


class Empty:
    """Stands for the content of a cell that has none."""


def namespace(module: str) -> dict[str, Any]:
    if module == MAIN:
        return sys.modules[MAIN].__dict__
    found = _namespaces.get(module)
    if found is None:
        found = _namespaces[module] = {"__name__": module, "__builtins__": builtins}
    return found


def namespaces() -> dict[str, dict[str, Any]]:
    return {MAIN: namespace(MAIN), **_namespaces}


def restore_code(data: bytes) -> CodeType:
    code: CodeType = marshal.loads(data)
    return code


def import_module(name: str) -> ModuleType:
    __import__(name)
    return sys.modules[name]


def restore_cached(function: FunctionType, parameters: dict[str, Any]) -> Any:
    from functools import lru_cache

    return lru_cache(**parameters)(function)


def restore_sentinel(name: str, text: str) -> Any:
    """That of the user's `__main__`: one object however often it comes, found there by name."""
    known = sys.modules[MAIN].__dict__.get(name)
    if type(known) is not builtins.sentinel:  # type: ignore[attr-defined]
        known = builtins.sentinel(name, repr=text)  # type: ignore[attr-defined]
        known.__module__ = MAIN
    note((MAIN, {name: known}, ()))
    return known


def empty_cell() -> CellType:
    return CellType()


def restore_function(
    code: CodeType, module: str, closure: tuple[CellType, ...] | None
) -> FunctionType:
    return FunctionType(code, namespace(module), None, None, closure)


def set_function_state(function: FunctionType, state: tuple[Any, ...]) -> None:
    attributes, special, contents, snapshot, _submodules = state
    for name, value in special.items():
        setattr(function, name, value)
    function.__dict__.update(attributes)
    for cell, content in zip(function.__closure__ or (), contents, strict=True):
        if content is not Empty:
            cell.cell_contents = content
    note(snapshot)


def note(snapshot: Snapshot) -> None:
    """Applies a snapshot, and remembers it for the function that is being loaded."""
    if _noted is not None:
        _noted.append(snapshot)
    _apply(snapshot)


def load(data: bytes) -> tuple[Any, Callable[[], None] | None]:
    """The object, and what puts its globals in place again (None: it has none)."""
    global _noted
    from _pickle import loads

    outer, _noted = _noted, []
    try:
        value = loads(data)
        snapshots = [s for s in _noted if s[1] or s[2]]
    finally:
        _noted = outer
    if not snapshots:
        return value, None

    def prepare() -> None:
        for snapshot in snapshots:
            _apply(snapshot)

    return value, prepare


def pin(module: str, names: Iterable[str]) -> None:
    _pinned.setdefault(module, set()).update(names)


def pinned(module: str) -> set[str]:
    return _pinned.get(module, set())


def _apply(snapshot: Snapshot) -> None:
    module, present, absent = snapshot
    names = namespace(module)
    kept = _pinned.get(module)
    if kept:
        present = {name: value for name, value in present.items() if name not in kept}
        absent = tuple(name for name in absent if name not in kept)
    names.update(present)
    for name in absent:
        names.pop(name, None)

# SPDX-License-Identifier: BSD-3-Clause
"""Pickles by value what the other process cannot import.

Two directions. *To a worker*, a function is made anew over the worker's namespace of the function's
module (see `_restoring.py`) with a snapshot of the globals that it refers to, and a class travels
whole. *To the owner*, that is from a worker back to the process that it works for, nothing may
touch a namespace: a function gets globals of its own, as under cloudpickle, and a class that came
from the owner travels as its number, for the owner has the original.

Threads: any; one pickler is used by one.
Not: the receiving half, nor the decision to ship by value (`_functions.py`, `_pickling.py`).
"""

from __future__ import annotations

import builtins
import functools
import io
import marshal
import sys
import typing
import weakref
from collections import ChainMap
from types import (
    CellType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudpickle import cloudpickle  # type: ignore[import-untyped]

from . import _restoring, _restoring_classes
from ._code_names import code_names
from ._restoring import MAIN, MAIN_NAMES

if TYPE_CHECKING:
    from pickle import Pickler as _Base

    from ._core import BufferCollector
else:
    _Base = cloudpickle.Pickler

__all__ = ["dumps", "is_importable", "namespace_of"]


_Cached = type(functools.lru_cache(lambda: None))
_Sentinel = getattr(builtins, "sentinel", None)  # since 3.15
# Of the import system; what is true of the user's __main__ is not true of the worker's.
_UNTOUCHED = {"__builtins__", "__loader__", "__name__", "__spec__"}
_SPECIAL = ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__")

_marshalled: weakref.WeakKeyDictionary[CodeType, bytes] = weakref.WeakKeyDictionary()


def dumps(
    value: object,
    *,
    to_owner: bool = False,
    reducers: dict[type, Any] | None = None,
    collector: BufferCollector | None = None,
) -> bytes:
    return _dump(value, TO_OWNER if to_owner else TO_WORKER, reducers, collector)


def is_importable(thing: Any) -> bool:
    """Whether a function or class is found where it says that it lives, outside `__main__`."""
    if getattr(thing, "__module__", None) in MAIN_NAMES:
        return False
    importable: bool = cloudpickle._should_pickle_by_reference(thing)
    return importable


def namespace_of(function: FunctionType) -> str | None:
    """The module whose globals a function uses; None: globals of no module that exists."""
    module = function.__globals__.get("__name__")
    if module in MAIN_NAMES:
        return MAIN
    found = sys.modules.get(module) if isinstance(module, str) else None
    return module if found is not None and found.__dict__ is function.__globals__ else None


class Manner(NamedTuple):
    over_namespaces: bool  # functions use the receiver's namespaces, classes get a name there
    copies_by_number: bool  # what came from the receiver is named, not described


TO_WORKER = Manner(over_namespaces=True, copies_by_number=False)
TO_OWNER = Manner(over_namespaces=False, copies_by_number=True)
_DEFINITION = Manner(over_namespaces=False, copies_by_number=False)


class Pickler(_Base):
    def __init__(
        self,
        file: io.BytesIO,
        manner: Manner,
        reducers: dict[type, Any] | None = None,
        collector: BufferCollector | None = None,
    ) -> None:
        if reducers:  # before the base class looks at it
            self.dispatch_table = ChainMap(_reducers, reducers, cloudpickle.Pickler.dispatch_table)
        super().__init__(file, protocol=5, buffer_callback=collector)
        self._manner = manner
        self._cells: dict[int, _CellOf] = {}

    def reducer_override(self, thing: Any) -> Any:
        kind = type(thing)
        if kind is FunctionType:
            if is_importable(thing):
                return NotImplemented
            module = namespace_of(thing) if self._manner.over_namespaces else None
            if module is None:
                return self._dynamic_function_reduce(thing)  # type: ignore[attr-defined]
            return self._reduce_function(thing, module)
        if isinstance(thing, type):
            return self._reduce_class(thing)
        if kind is _Cached and not _is_imported(thing):
            return _restoring.restore_cached, (thing.__wrapped__, thing.cache_parameters())
        if kind is typing.NewType and not _is_imported(thing):
            return typing.NewType, (thing.__name__, thing.__supertype__)
        if kind is _Sentinel and thing.__module__ in MAIN_NAMES:
            return _restoring.restore_sentinel, (thing.__name__, repr(thing))
        return NotImplemented

    def _reduce_function(self, function: FunctionType, module: str) -> tuple[Any, ...]:
        closure = function.__closure__
        cells = None if closure is None else tuple(self._cell(cell) for cell in closure)
        contents = tuple(_content(cell) for cell in closure or ())
        names = function.__globals__
        referred = [n for n in code_names(function.__code__).globals if n not in _UNTOUCHED]
        present = {name: names[name] for name in referred if name in names}
        absent = tuple(name for name in referred if name not in names)
        # What relative imports inside the function look at.
        for name in ("__package__", "__path__"):
            if names.get(name):
                present[name] = names[name]
        special = {name: getattr(function, name) for name in _SPECIAL}
        special["__annotations__"] = _annotations(function)
        state = (
            dict(function.__dict__),
            special,
            contents,
            (module, present, absent),
            cloudpickle._find_imported_submodules(
                function.__code__, [*present.values(), *contents]
            ),
        )
        arguments = (function.__code__, module, cells)
        return (
            _restoring.restore_function,
            arguments,
            state,
            None,
            None,
            _restoring.set_function_state,
        )

    def _reduce_class(self, cls: type) -> Any:
        if not cls.__flags__ & _HEAP_TYPE or is_importable(cls):
            return cloudpickle._class_reduce(cls)
        if self._manner.copies_by_number and _restoring_classes.is_copy(cls):
            number = _restoring_classes.tracker_number(cls)
            definition = _dump(cls, _DEFINITION, None)
            return _restoring_classes.known_class, (number, definition)
        maker, arguments, state, *_ = cloudpickle._dynamic_class_reduce(cls)
        if vars(cls).get("__slots__") and maker is cloudpickle._make_skeleton_class:
            # Slots can only be there from the start; cloudpickle gives the copy a __dict__ instead.
            arguments[3]["__slots__"] = cls.__slots__  # type: ignore[attr-defined]
            state = ({k: v for k, v in state[0].items() if not _is_slot_of(cls, v)}, state[1])
        place = cls.__qualname__ if self._manner.over_namespaces and _is_in_main(cls) else None
        return (
            _restoring_classes.restore_class,
            (maker.__name__, arguments, place),
            state,
            None,
            None,
            _restoring_classes.set_class_state,
        )

    def _cell(self, cell: CellType) -> _CellOf:
        # Functions that share a variable share it in the worker too: one object a cell, which
        # the pickler then sees twice. Its content travels with the function, which may be in it.
        found = self._cells.get(id(cell))
        if found is None:
            found = self._cells[id(cell)] = _CellOf(cell)
        return found


_HEAP_TYPE = 1 << 9


class _CellOf:
    def __init__(self, cell: CellType) -> None:
        self.cell = cell  # kept, so that its id stays its own

    def __reduce__(self) -> tuple[Any, ...]:
        return _restoring.empty_cell, ()


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _restoring.Empty


def _annotations(function: FunctionType) -> dict[str, Any]:
    try:
        return function.__annotations__
    except Exception:  # since 3.14 they are computed when asked for
        return {}


def _is_slot_of(cls: type, attribute: object) -> bool:
    return isinstance(attribute, MemberDescriptorType) and attribute.__objclass__ is cls


def _is_imported(thing: Any) -> bool:
    return thing.__module__ not in MAIN_NAMES and _is_attribute_of_module(thing)


def _is_in_main(cls: type) -> bool:
    return (
        cls.__module__ in MAIN_NAMES
        and "." not in cls.__qualname__
        and _is_attribute_of_module(cls)
    )


def _is_attribute_of_module(thing: Any) -> bool:
    found: Any = sys.modules.get(getattr(thing, "__module__", None) or "")
    for name in getattr(thing, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return found is thing


def _dump(
    value: object,
    manner: Manner,
    reducers: dict[type, Any] | None,
    collector: BufferCollector | None = None,
) -> bytes:
    with io.BytesIO() as file:
        Pickler(file, manner, reducers, collector).dump(value)
        return file.getvalue()


def _reduce_code(code: CodeType) -> tuple[Any, ...]:
    # Kept, because marshal's bytes depend on who else holds the parts just now.
    data = _marshalled.get(code)
    if data is None:
        data = _marshalled[code] = marshal.dumps(code)
    return _restoring.restore_code, (data,)


def _reduce_method(method: MethodType) -> tuple[Any, ...]:
    owner, name = method.__self__, getattr(method.__func__, "__name__", "")
    if getattr(owner, name, None) == method:
        return getattr, (owner, name)
    return MethodType, (method.__func__, owner)


def _reduce_module(module: ModuleType) -> Any:
    if cloudpickle._should_pickle_by_reference(module):
        return _restoring.import_module, (module.__name__,)
    return cloudpickle._module_reduce(module)


# Cloudpickle has all of these, too; but what it writes makes the worker import it, and that imports
# logging, inspect, typing and fifty others.
_reducers: dict[type, Any] = {
    CodeType: _reduce_code,
    MethodType: _reduce_method,
    ModuleType: _reduce_module,
}
Pickler.dispatch_table = ChainMap(_reducers, cloudpickle.Pickler.dispatch_table)

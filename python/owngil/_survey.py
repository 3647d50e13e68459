# SPDX-License-Identifier: BSD-3-Clause
"""Finds out what a callable captures; see `_captures.py` for the words.

Threads: any, with the GIL. Not: a reader of bytes; what it finds steady is not serialised for it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import reprlib
import sys
import weakref
from collections.abc import Iterable, Iterator
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from ._captures import ABSENT, NOTHING, Captures, Watched
from ._code_names import code_names
from ._shipping import is_importable

__all__ = ["named_parts", "survey"]

_ATOMS = {
    *(type(None), bool, int, float, complex, str, bytes, range),
    *(type(Ellipsis), type(NotImplemented), CodeType, MethodDescriptorType, WrapperDescriptorType),
}
# Immutable too; known by name, so that nothing is imported for their sake. Loggers and ufuncs
# travel by name.
_NAMED_ATOMS = {
    ("_collections", "_tuplegetter"),
    ("builtins", "sentinel"),  # since 3.15; dataclasses.MISSING is one
    ("collections", "_tuplegetter"),
    ("dataclasses", "_HAS_DEFAULT_FACTORY_CLASS"),
    ("dataclasses", "_MISSING_TYPE"),
    ("datetime", "date"),
    ("datetime", "datetime"),
    ("datetime", "time"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
    ("decimal", "Decimal"),
    ("fractions", "Fraction"),
    ("logging", "Logger"),
    ("logging", "RootLogger"),
    ("numpy", "bool"),
    ("numpy", "float32"),
    ("numpy", "float64"),
    ("numpy", "int32"),
    ("numpy", "int64"),
    ("numpy", "ufunc"),
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib._local", "PurePosixPath"),
    ("re", "Pattern"),
    ("typing", "NewType"),
    ("typing", "TypeVar"),
    ("uuid", "UUID"),
    ("zoneinfo", "ZoneInfo"),
}
# Of a class: made with it and never assigned again, or without effect on what it does.
_FIXED_ATTRIBUTES = {
    *("__module__", "__qualname__", "__doc__", "__annotations__", "__annotate__"),
    *("__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__"),
    *("__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__", "__slots__"),
    *("__match_args__", "__dataclass_fields__", "__dataclass_params__", "_field_defaults"),
    "__type_params__",
}
_PARTS = {
    property: ("fget", "fset", "fdel"),
    staticmethod: ("__func__",),
    classmethod: ("__func__",),
    functools.cached_property: ("func",),
    MemberDescriptorType: (),
    GetSetDescriptorType: (),
}
_HEAP_TYPE = 1 << 9
_Cached = type(functools.lru_cache(lambda: None))
# The __repr__ of a dataclass is wrapped in this; its set is empty whenever nothing is printed.
_GUARDED_REPRS = {reprlib.recursive_repr()(lambda _: "").__code__}
if hasattr(dataclasses, "_recursive_repr"):  # until 3.12
    _GUARDED_REPRS.add(dataclasses._recursive_repr(lambda _: "").__code__)


class _NotSteadyError(Exception):
    pass


def survey(root: Any) -> Captures:
    captures = Captures()
    try:
        _Survey(captures).visit(root)
    except _NotSteadyError:
        captures.mutable = True
    return captures


def named_parts(root: Any) -> Iterator[tuple[str, Any]]:
    """What a function refers to, for an error message."""
    function = getattr(root, "__func__", root)
    if isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, FunctionType):
        return
    names, where = function.__globals__, f"of {function.__qualname__!r}"
    for name in code_names(function.__code__).globals:
        if name in names:
            yield f"global {name!r} {where}", names[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"variable {name!r} {where}", cell.cell_contents
        except ValueError:
            continue


class _Survey:
    def __init__(self, captures: Captures) -> None:
        self._captures = captures
        self._seen: set[int] = set()

    def visit(self, value: Any) -> bool:
        """Whether the value is to be held weakly, for it may refer to what captures it."""
        if _is_plain(value):
            return False
        if id(value) in self._seen:
            return True
        self._seen.add(id(value))
        kind = type(value)
        if kind is FunctionType:
            self._visit_function(value)
        elif kind is _Cached:  # what it has stored can be computed again
            self.visit(value.__wrapped__)
        elif kind is functools.partial:
            self._visit_partial(value)
        elif kind is MethodType:
            self.visit(value.__self__)
            self.visit(value.__func__)
        elif isinstance(value, type):
            self._visit_class(value)
        else:
            raise _NotSteadyError
        return True

    def _visit_function(self, function: FunctionType) -> None:
        code, defaults = function.__code__, function.__defaults__
        if not _is_plain(defaults):
            raise _NotSteadyError
        names = code_names(code)
        self._captures.stores |= names.stores
        own_globals = function.__globals__
        contents = []
        for index, cell in enumerate(function.__closure__ or ()):
            if code in _GUARDED_REPRS and code.co_freevars[index] == "repr_running":
                continue
            try:
                contents.append((index, cell.cell_contents))
            except ValueError:
                raise _NotSteadyError from None
        self._captures.functions.append(
            (
                weakref.ref(function),
                code,
                defaults,
                self._watched((name, own_globals.get(name, ABSENT)) for name in names.globals),
                self._watched(contents),
                self._watched((function.__kwdefaults__ or {}).items()),
                self._watched(function.__dict__.items()),
            )
        )

    def _visit_partial(self, partial: functools.partial[Any]) -> None:
        if partial.__dict__:
            raise _NotSteadyError
        self.visit(partial.func)
        for argument in partial.args:
            self.visit(argument)
        self._captures.keywords.append(
            (weakref.ref(partial), self._watched(partial.keywords.items()))
        )

    def _visit_class(self, cls: type) -> None:
        if not _is_plain(type(cls)):
            raise _NotSteadyError
        attributes = dict(vars(cls))
        size = len(attributes)
        for name in _FIXED_ATTRIBUTES:
            attributes.pop(name, None)
        if dataclasses.is_dataclass(cls):
            for field in dataclasses.fields(cls):
                self.visit(field.default)
                self.visit(field.default_factory)
        if isinstance(cls, enum.EnumType):
            _check_members(cls)
            attributes = {
                name: value
                for name, value in attributes.items()
                if name not in cls._member_map_ and not (name[0] == "_" and name[1] != "_")
            }
        composed = {n: v for n, v in attributes.items() if type(v) in _PARTS}
        for value in attributes.values():
            if isinstance(value, classmethod):
                self._captures.stores |= _stores_attributes(value.__func__)
        simple = [(name, value) for name, value in attributes.items() if name not in composed]
        self._captures.classes.append(
            (
                weakref.ref(cls),
                size,
                self._watched(enumerate(cls.__bases__)),
                self._watched(simple),
                tuple((n, type(v), self._watched(_parts(v))) for n, v in composed.items()),
            )
        )

    def _watched(self, found: Iterable[tuple[Any, Any]]) -> Watched:
        values, references = [], []
        for key, value in found:
            if self.visit(value):
                references.append((key, weakref.ref(value)))
            else:
                values.append((key, value))
        return (tuple(values), tuple(references)) if values or references else NOTHING


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    return ((name, getattr(value, name)) for name in _PARTS[type(value)])


def _stores_attributes(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is None or code_names(code).stores_attributes


def _check_members(cls: enum.EnumType) -> None:
    member: enum.Enum
    for member in cls.__members__.values():
        for name, value in vars(member).items():
            if name != "__objclass__" and not _is_plain(value):
                raise _NotSteadyError


def _is_plain(value: Any) -> bool:
    """Immutable through and through, or importable."""
    kind = type(value)
    if kind in _ATOMS or value is ABSENT:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(_is_plain, value))
    if kind is FunctionType:
        return is_importable(value)
    if kind is ModuleType:
        return sys.modules.get(value.__name__) is value
    if kind is BuiltinFunctionType:
        return value.__self__ is None or _is_plain(value.__self__)
    if kind is MethodType:
        owner, name = value.__self__, getattr(value.__func__, "__name__", "")
        return _is_plain(owner) and getattr(owner, name, None) == value
    if issubclass(kind, type):
        return not value.__flags__ & _HEAP_TYPE or is_importable(value)
    return (kind.__module__, kind.__qualname__) in _NAMED_ATOMS

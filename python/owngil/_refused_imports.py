# SPDX-License-Identifier: BSD-3-Clause
"""Sees each module that this interpreter is refused, also where the code that imports it goes on.

    try:
        import numpy as np
    except ImportError:
        np = None  # whoever has subscribed has been told

A refusal is an ImportError with which CPython, or the module itself, says that it does not load in
an interpreter like this one. All of them come out of the four functions of `_imp` that load what is
written in C, so nothing else is looked at: other imports cost what they did, these 0.3 µs more.

The standard library swallows some itself, and does without: `_suggestions` when it shows a
NameError or the like, `_tracemalloc` when it shows a warning that names an object.

Threads: observers are called in whichever imports, before the importing code gets the error.
Not: what a module that loads does then.
"""

from __future__ import annotations

import _imp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Observer = Callable[[str, ImportError], None]

__all__ = ["ONE_INTERPRETER", "REFUSALS", "is_refusal", "observe_alone", "subscribe"]

# What CPython says of a module that has not declared that it supports this, and PyO3's own words.
REFUSALS = ("does not support loading in subinterpreters", "do not yet support subinterpreters")
# What NumPy and Cython say in all interpreters of a process but the first that has them.
ONE_INTERPRETER = (
    "cannot load module more than once per process",
    "this module can only be loaded into one interpreter per process",
)

_observers: list[Observer] = []


def subscribe(observer: Observer) -> None:
    """From now on it is called with the full name of what was refused, and the error."""
    if not _observers:
        _watch()
    _observers.append(observer)


def observe_alone(observer: Observer) -> None:
    """The same, and nobody who has subscribed before is called any more."""
    subscribe(observer)
    del _observers[:-1]


def is_refusal(error: ImportError) -> bool:
    text = str(error)
    return any(words in text for words in (*REFUSALS, *ONE_INTERPRETER))


def _watch() -> None:
    for name in ("create_builtin", "create_dynamic"):
        setattr(_imp, name, _watched(getattr(_imp, name), lambda spec: spec.name))
    for name in ("exec_builtin", "exec_dynamic"):
        setattr(_imp, name, _watched(getattr(_imp, name), lambda module: module.__name__))


def _watched(load: Callable[..., Any], name_of: Callable[[Any], str]) -> Callable[..., Any]:
    def watched(what: Any, *rest: Any) -> Any:
        try:
            return load(what, *rest)
        except ImportError as error:
            if is_refusal(error):
                for observer in _observers:
                    observer(name_of(what), error)
            raise

    return watched

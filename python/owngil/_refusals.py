# SPDX-License-Identifier: BSD-3-Clause
"""What an interpreter is refused, in pools that have processes to fall back to.

Before a function is called here for the first time, its module and what its code imports are
imported. A module that cannot live in an interpreter is noticed even if the code gets over its
absence: `except ImportError: np = None` must not make results depend on where a call runs.

Threads: the worker's own, and those of tasks that import something. Imported by C++ in interpreters
whose channel says that they may refuse (workers/executor.cpp), and by nobody else.
Not: an answer. `_core.note_refusal` keeps the first word of each task, for C++ to act on.
"""

from __future__ import annotations

import dis
import sys
from types import CodeType, FunctionType, MethodType

from . import _core, _refused_imports, _worker
from ._ways_out import refusal_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ._errors import NeedsProcess
    from ._worker import Loaded

__all__ = ["load_function", "look_at", "needs_process"]

# Importable functions: so many are remembered; to look once more costs no more than time.
_REMEMBERED = 4096

_looked_through: set[CodeType] = set()
# Modules that were half imported when something was refused, and so may lack it.
_lacking: set[str] = set()


def load_function(blob: bytes) -> Loaded:
    """As `_worker.load_function`. What is refused on the way is noted, and is so again for the next
    function that needs it: no module that lacks something stays behind."""
    for name in _lacking:
        sys.modules.pop(name, None)
    _lacking.clear()
    loaded = _worker.load_function(blob)
    _look_through(loaded[0])
    return loaded


def look_at(error: BaseException) -> None:
    """Notes what CPython has refused a task, if that is what it failed with."""
    found = refusal_in(error)
    if found is not None:
        one, words, _ = found
        name = one.name if isinstance(one, ImportError) else None
        _core.note_refusal(f"module {name}" if name else words)


def needs_process(what: str, raised: BaseException | None) -> NeedsProcess:
    """For a task that had begun. Its own exception, if it has let one out, is the cause."""
    from ._errors import NeedsProcess

    error = NeedsProcess(
        f"this call had begun in an interpreter when CPython refused it something: {what}. So it "
        "has run in part. Later calls of this function run in a process; with "
        "options(retries=1) this one would have been run again there.",
        what=what,
    )
    error.__cause__ = raised
    return error


def _on_refused_import(name: str, _: ImportError) -> None:
    _core.note_refusal(f"module {name}")
    _lacking.update(_half_imported())


def _half_imported() -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        if getattr(getattr(module, "__spec__", None), "_initializing", False):
            yield name


# --- what a function will import


def _look_through(function: Any) -> None:
    """Imports what the code of the function imports, and of functions beside it that it names."""
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        one = _plain(waiting.pop())
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        code, names = one.__code__, one.__globals__
        if code not in _looked_through:
            if len(_looked_through) >= _REMEMBERED:
                _looked_through.clear()
            _looked_through.add(code)
            for arguments in _imports(code):
                _import(names, *arguments)
        waiting += _named_functions(one, names)


def _plain(callable_: Any) -> FunctionType | None:
    """The Python function that a call of it comes to, as far as that can be told."""
    for _ in range(16):
        if isinstance(callable_, FunctionType):
            return callable_
        if isinstance(callable_, MethodType):
            callable_ = callable_.__func__
        elif (inner := _wrapped(callable_)) is not None:
            callable_ = inner
        else:
            callable_ = getattr(type(callable_), "__call__", None)  # noqa: B004 - not whether it has
            return callable_ if isinstance(callable_, FunctionType) else None
    return None


def _wrapped(callable_: Any) -> Any:
    """Of functools.partial and its cache, and of whatever else says what it stands for."""
    if isinstance(callable_, type):
        return None
    try:
        return getattr(callable_, "func", None) or getattr(callable_, "__wrapped__", None)
    except Exception:  # of a __getattr__ of the user's
        return None


def _named_functions(function: FunctionType, names: dict[str, Any]) -> list[Any]:
    from ._code_names import code_names

    found = [names.get(name) for name in code_names(function.__code__).globals]
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # empty
            pass
    return [one for one in found if isinstance(one, FunctionType) and one.__globals__ is names]


def _imports(code: CodeType) -> Iterator[tuple[str, tuple[str, ...] | None, int]]:
    """(name, names taken from it, level) of each import statement, nested functions' included."""
    before: list[Any] = [None, None]
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            level, taken = before
            yield instruction.argval, taken, level
        before = [before[1], instruction.argval]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _imports(constant)


def _import(names: dict[str, Any], name: str, taken: tuple[str, ...] | None, level: int) -> None:
    try:
        __import__(name, names, None, taken or (), level)
    except Exception:
        pass  # its own code will meet it; what was refused is noted


# Nobody has to be told what an interpreter cannot do: it is done elsewhere.
_worker.explain = None
_refused_imports.observe_alone(_on_refused_import)

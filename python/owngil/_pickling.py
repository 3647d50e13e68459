# SPDX-License-Identifier: BSD-3-Clause
"""Bytes for what the tagged codec leaves over: arguments, results and exceptions.

The C pickler does it where it can; what it refuses, and what lives in `__main__`, goes by value
(`_shipping.py`). A failure (`Format::failure`) is a pickle of four plain values: the exception's
type, message and traceback as text, which anybody can read, C++ programs too, and its own pickle.

Threads: any, with the GIL.
Not: an importer of pickle, cloudpickle or traceback before one is needed.
"""

from __future__ import annotations

import sys

from ._errors import RemoteError, _RemoteTraceback, remote_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ._core import BufferCollector

__all__ = [
    "dump_arguments",
    "dump_exception",
    "dump",
    "dump_result",
    "load_exception",
    "naming_the_guilty",
    "undecodable",
    "undecodable_call",
]

# How pickle writes the module of a class or function of __main__, when it does so first.
_MAIN = b"\x8c\x08__main__\x94"
_MP_MAIN = b"\x8c\x0b__mp_main__\x94"


def dump_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None, collector: BufferCollector | None = None
) -> bytes:
    """The call's pickle. The error says which argument cannot be pickled.

    Large buffers go into the collector instead, if there is one.
    """
    call = (args, kwargs if kwargs is not None else {})
    data = _plainly(call, collector)
    if data is not None:
        return data
    from ._shipping import dumps

    try:
        return dumps(call, collector=collector)
    except Exception as error:
        named: list[tuple[str, Any]] = [(f"argument {n}", a) for n, a in enumerate(args, 1)]
        named += [(f"argument {name!r}", value) for name, value in call[1].items()]
        raise naming_the_guilty(error, named, dumps) from None


def dump(value: object, collector: BufferCollector | None = None) -> bytes:
    data = _plainly(value, collector)
    if data is not None:
        return data
    from ._shipping import dumps

    return dumps(value, collector=collector)


def dump_result(value: object, collector: BufferCollector | None = None) -> bytes:
    try:
        data = _dump(value, collector)
    except Exception:
        pass
    else:
        if _MAIN not in data or not _initializer_made_something():
            return data
    if collector is not None:
        collector.clear()
    from . import _shipping

    try:
        return _shipping.dumps(value, to_owner=True, collector=collector)
    except Exception as error:
        kind = type(value).__qualname__
        raise remote_error(
            _describe(error)[0],
            f"a result of type {kind} cannot be pickled: {error}",
            _format(error),
            _plain_kinds(error),
        ) from error


def dump_exception(error: BaseException) -> bytes:
    """Never raises."""
    from _pickle import dumps

    try:
        name, message = _describe(error)
        text = _format(error)
        # The frames hold everything that was in scope.
        error.__traceback__ = None
        try:
            pickled = dump_result(error)
        except Exception:
            pickled = None
        told: bytes = dumps((name, message, text, pickled), 5)
    except BaseException:
        told = dumps((type(error).__name__, "", "", None), 5)
    return told


def load_exception(data: bytes) -> BaseException:
    """Never raises. The worker's traceback is the cause of what it returns."""
    from _pickle import loads

    try:
        name, message, text, pickled = loads(data)
        error = _unpickle(pickled) if pickled is not None else None
        if error is None:
            error = RemoteError(name, message, text)
        if text:
            error.__cause__ = _remote_traceback(f'\n"""\n{text}"""')
        return error
    except Exception as broken:
        return RemoteError(type(broken).__name__, f"a worker's exception is unreadable: {broken}")


def undecodable(error: BaseException, data: bytes) -> BaseException:
    """What to raise for a result whose bytes `data` do not load here."""
    return _undecodable(error, f"a result of {len(data)} bytes does not unpickle here")


def undecodable_call(error: BaseException) -> BaseException:
    """What a task fails with whose arguments do not load in the worker."""
    return _undecodable(error, "the arguments do not unpickle in the worker")


def _undecodable(error: BaseException, what: str) -> BaseException:
    from ._broken import BrokenProcessPool  # what the standard pool is then

    name, message = _describe(error)
    also = (*_plain_kinds(error), BrokenProcessPool)
    remote = remote_error(name, f"{what}: {message}", _format(error), also)
    remote.__cause__ = error
    return remote


def _plain_kinds(error: BaseException) -> tuple[type[BaseException], ...]:
    """The kind of the error, if everybody has it."""
    kind = type(error)
    known = kind.__module__ in ("builtins", "_pickle") and isinstance(error, Exception)
    return (kind,) if known else ()


def _plainly(value: object, collector: BufferCollector | None = None) -> bytes | None:
    try:
        data = _dump(value, collector)
    except Exception:
        data = _MAIN
    if _MAIN in data or ("__mp_main__" in sys.modules and _MP_MAIN in data):
        if collector is not None:
            collector.clear()
        return None
    return data


def _dump(value: object, collector: BufferCollector | None) -> bytes:
    from _pickle import dumps

    if collector is None:
        data: bytes = dumps(value, 5)
        return data
    if collector.has_direct(value):
        from . import _direct

        return _direct.dumps(value, collector)
    data = dumps(value, 5, buffer_callback=collector)
    return data


def naming_the_guilty(
    error: Exception, named: Iterable[tuple[str, Any]], dumps: Callable[[Any], bytes]
) -> Exception:
    """The error of the first part that cannot be pickled by itself, its message naming the part."""
    for name, value in named:
        try:
            dumps(value)
        except Exception as found:
            error = found
        else:
            continue
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (f"{error.args[0]} ({name})",)
        else:
            error.add_note(f"({name})")
        break
    return error


def _initializer_made_something() -> bool:
    """Whether this worker's `__main__` has functions or classes that the user's has not."""
    restoring: Any = sys.modules.get("owngil._restoring")
    if restoring is None:
        return False
    names = restoring.namespace("__main__")
    return any(callable(names.get(name)) for name in restoring.pinned("__main__"))


def _unpickle(pickled: bytes) -> BaseException | None:
    from _pickle import loads

    try:
        error = loads(pickled)
    except Exception:
        return None
    return error if isinstance(error, BaseException) else None


def _remote_traceback(text: str) -> Exception:
    # The standard pool's own type, for whoever looks at it; but importing it takes 12-20 ms.
    standard: Any = sys.modules.get("concurrent.futures.process")
    kind: Any = getattr(standard, "_RemoteTraceback", _RemoteTraceback)
    made: Exception = kind(text)
    return made


def _describe(error: BaseException) -> tuple[str, str]:
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        message = "".join(("", str(error)))  # of a subclass of str: its characters
    except Exception:
        message = "<its str() failed>"
    return name, message


def _format(error: BaseException) -> str:
    from traceback import format_exception

    try:
        return "".join(format_exception(error))
    except Exception:
        return f"{type(error).__qualname__}: its traceback cannot be shown\n"

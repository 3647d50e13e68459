# SPDX-License-Identifier: BSD-3-Clause
"""What the worker's C++ loop calls in Python.

Threads: the worker's main thread, with the GIL.
Not: imported in the user's process, but for `Initializer` and `identity`. Brings in no module
before it is needed: a worker that only gets importable functions and plain values needs none.
"""

from __future__ import annotations

import sys
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ._core import BufferCollector

    Loaded = tuple[Callable[..., Any], Callable[[], None] | None, bool]


class Identity:
    """Which worker this is. The rank stays with the place when the process is replaced."""

    __slots__ = ("kind", "pid", "pool", "rank")

    def __init__(self, rank: int, pid: int, kind: str, pool: str) -> None:
        self.rank = rank
        self.pid = pid
        self.kind = kind
        self.pool = pool

    def __repr__(self) -> str:
        return f"Worker(rank={self.rank}, pid={self.pid}, kind={self.kind!r}, pool={self.pool!r})"


_identity: Identity | None = None

# Adds to what a task has raised what this kind of worker knows of it.
explain: Callable[[BaseException], None] | None = None

# Of threads that run a task of a pool with kind="thread".
of_threads: dict[int, Identity] = {}


def enter(rank: int, pid: int, kind: str, pool_name: str) -> None:
    """The process has become a worker."""
    global _identity
    _identity = Identity(rank, pid, kind, pool_name)


def identity() -> Identity | None:
    return of_threads.get(get_ident(), _identity) if of_threads else _identity


def adopt_fds(fds: Sequence[int]) -> None:
    """Descriptors that came with the launch, for the initializer's arguments."""
    Initializer.fds = list(fds)


def load_function(blob: bytes) -> Loaded:
    """The function, what puts its globals in place (or None), whether to load it for each call."""
    kind, data = blob[:1], blob[1:]
    if kind == b"R":
        module, _, name = data.decode().partition("\0")
        function = _import(module, name)
        prepare = None
    else:
        from ._restoring import load

        function, prepare = load(data)
    _settle_context()
    return function, prepare, kind == b"A"


def apply_context(blob: bytes) -> None:
    from ._context import apply

    apply(blob)


def load_direct(data: bytes, buffers: list[Any]) -> Any:
    from ._direct import loads

    return loads(data, buffers)


def dump_result(value: object, collector: BufferCollector | None = None) -> bytes:
    from ._pickling import dump_result

    return dump_result(value, collector)


def undecodable_call(error: BaseException) -> BaseException:
    """What to fail with when the arguments do not unpickle: instead of the bare error."""
    from ._pickling import undecodable_call

    return undecodable_call(error)


def dump_exception(error: BaseException) -> bytes:
    from ._pickling import dump_exception

    if explain is not None:
        explain(error)
    return dump_exception(error)


def log_initializer_failure(error: BaseException) -> None:
    from concurrent.futures import _base

    _base.LOGGER.critical("Exception in initializer:", exc_info=error)


def is_one_of(kinds: tuple[type[BaseException], ...], error: BaseException) -> bool:
    """The judge that options(retry_on=...) sends along: is the error worth another run?"""
    return isinstance(error, kinds)


def end_forked_child(error: BaseException | None) -> None:
    """Ends this process as the interpreter ends a program, without what the worker does at exit."""
    import os

    code: Any = 0
    if isinstance(error, SystemExit):
        code = error.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            pass  # None, or closed
    os._exit(code & 0xFF)


class Initializer:
    """The user's initializer with its arguments: what it changes, no later shipment undoes."""

    fds: list[int] = []  # noqa: RUF012 - of the process, set once

    def __init__(self, function: Callable[..., Any], arguments: bytes) -> None:
        self.function = function
        self.arguments = arguments

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self.function

    def __call__(self) -> None:
        from ._initializing import run

        run(self.function, self.arguments, Initializer.fds)


def _import(module: str, name: str) -> Any:
    try:
        __import__(module)
    except ModuleNotFoundError:
        # It may be newer than what the import system remembers of its folder.
        import importlib

        importlib.invalidate_caches()
        __import__(module)
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _settle_context() -> None:
    context = sys.modules.get("owngil._context")
    if context is not None and context.pending:
        context.settle()

# SPDX-License-Identifier: BSD-3-Clause
"""Life of a host, and of the interpreters in it that are its workers.

A host is a process that has no task of its own: its main interpreter has imported the extension
modules of the standard library, and then only lends its GIL to interpreters that begin. `main` runs
in each of these, as the worker's first word; the rest is as in a process that is a worker.

Threads: `serve` the host's first; `main` the worker's own. With the GIL of their interpreter.
Not: threads and channels, which are `workers/interpreter_host.cpp`; nor `_template`, which makes
the process.
"""

from __future__ import annotations

import os
import sys

from . import _core, _refused_imports, _without_extensions, _worker
from ._cpython import interpreters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Config = dict[str, Any]

__all__ = [
    "import_extensions",
    "main",
    "refusal_in",
    "serve",
    "stop_tracing",
]

# They refuse to be loaded in an interpreter, or need what a worker does not have.
_NOT_FOR_WORKERS = {
    *("_curses", "_curses_panel", "_gdbm", "_dbm", "_tkinter", "_tracemalloc", "readline"),
    *("_suggestions", "ossaudiodev", "nis", "spwd"),
}
# Imported with extension modules, and then by every interpreter that begins.
_EXTENSIONS_OF = ("datetime", "decimal", "hashlib", "sqlite3", "ssl", "zoneinfo")

# As `_bootstrap._STUB`, in an interpreter of a process that has run that.
_ENTRY = (
    "import sys;"
    "from _frozen_importlib import _load;"
    "from _frozen_importlib_external import spec_from_file_location as spec;"
    "_load(spec('owngil',{init!r},submodule_search_locations=[{init!r}[:-12]]))"
    "._core=_load(spec('owngil._core',{core!r}));"
    "from owngil._interpreter import main\n"
    "code = main({config!r})"
)

# What CPython says that an interpreter may not do, and what to do instead.
_ELSEWHERE = 'run it in a process of its own, with Pool(kind="process")'
_WAYS_OUT = (
    *(
        (words, f"it needs an interpreter alone: {_ELSEWHERE}")
        for words in _refused_imports.REFUSALS
    ),
    *(
        (words, f"one interpreter has it: {_ELSEWHERE}")
        for words in _refused_imports.ONE_INTERPRETER
    ),
    (
        "fork not supported for isolated subinterpreters",
        f"a child of fork() would crash here: use subprocess, or {_ELSEWHERE}",
    ),
    (
        "exec not supported for isolated subinterpreters",
        f"it would replace the other workers of this process, too: use subprocess, or {_ELSEWHERE}",
    ),
    (
        "daemon threads are disabled in this (sub)interpreter",
        f"a thread that outlives its interpreter would crash it: end the thread, or {_ELSEWHERE}",
    ),
    (
        "signal only works in main thread of the main interpreter",
        f"signals are for the whole process, which workers share: {_ELSEWHERE}",
    ),
)


# --- the host


def import_extensions() -> None:
    """What two interpreters may not import for the first time at the same moment (CPython 3.13)."""
    import importlib.machinery

    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    folder = os.path.dirname(getattr(sys.modules.get("_struct"), "__file__", "") or _dynload())
    names = sorted({name.partition(".")[0] for name in _listed(folder) if name.endswith(suffixes)})
    for name in (*names, *_EXTENSIONS_OF):
        if name in _NOT_FOR_WORKERS or name.startswith(
            ("_test", "_xxtest", "xxlimited", "_ctypes_t")
        ):
            continue
        try:
            __import__(name)
        except Exception:
            pass  # a worker that needs it gets the error


def stop_tracing(tell: Callable[[str], None]) -> None:
    """tracemalloc hooks the allocators of all interpreters, and keeps what they own in one table,
    under one lock: 8 of them were 13 times slower. Only this interpreter could ask it.
    """
    try:
        import _tracemalloc
    except ImportError:
        return  # it is an optional part of Python
    if _tracemalloc.is_tracing():
        _tracemalloc.stop()
        tell(
            "owngil: tracemalloc knows only one interpreter of a process, so it is off in workers "
            'of kind="interpreter". To trace in workers use Pool(kind="process").'
        )


def _dynload() -> str:
    return next((entry for entry in sys.path if entry.endswith("lib-dynload")), "")


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder) if folder else []
    except OSError:
        return []


def serve(socket: int, config: Config) -> NoReturn:
    """The process is a host from here on: it ends with its last worker."""
    init, core = sys.orig_argv[-3:-1]
    entry = _ENTRY.format(init=init, core=core, config=config)
    code = _core.serve_interpreters(socket, entry, interpreters().alone)
    # Nothing of the user's has run in this interpreter, and its end with others gone is not safe.
    os._exit(code)


# --- an interpreter


def main(config: Config) -> Any:
    """What takes the worker's socket."""
    from . import _template

    def work(socket: int) -> int:
        try:
            _template.empty_main_module()
            worker = _core.begin_interpreter(socket)
            _take_part()
            return _template.work(worker, config, "interpreter")
        except SystemExit:
            return 0
        finally:
            _flush()

    return work


def _take_part() -> None:
    """What ends the process, or is refused here, is told as this worker's."""
    import posix

    os._exit = posix._exit = _core.exit_process  # type: ignore[assignment]
    _worker.explain = explain
    _without_extensions.tell_of_refusals()


def explain(error: BaseException) -> None:
    """Adds the way out to what an interpreter was refused, wherever in the chain that is."""
    found = refusal_in(error)
    if found is not None:
        one, words, way_out = found
        line = next(line for line in str(one).splitlines() if words in line)
        error.add_note(f"owngil: this worker is an interpreter. {line}: {way_out}.")


def refusal_in(error: BaseException) -> tuple[BaseException, str, str] | None:
    """Of it and what it came of, the first that is a refusal; CPython's words, and the way out."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        text = str(one)
        for words, way_out in _WAYS_OUT:
            if words in text:
                return one, words, way_out
        chain += [one.__cause__, one.__context__]
    return None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            pass

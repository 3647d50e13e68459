# SPDX-License-Identifier: BSD-3-Clause
"""Life of a host: a process that has no task of its own, and whose interpreters are workers.

Its main interpreter has imported the extension modules of the standard library, and then only lends
its GIL to interpreters that begin.

Threads: the host's first.
Not: threads and channels, which are `workers/interpreter_host.cpp`; nor `_template`, which makes
the process; nor what runs in its interpreters, which is `_interpreter`.
"""

from __future__ import annotations

import os
import sys

from . import _core
from ._cpython import interpreters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Config = dict[str, Any]

__all__ = ["import_extensions", "serve", "stop_tracing"]

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
    allowed = interpreters()
    code = _core.serve_interpreters(socket, entry, allowed.alone, allowed.wakes)
    # Nothing of the user's has run in this interpreter, and its end with others gone is not safe.
    os._exit(code)

# SPDX-License-Identifier: BSD-3-Clause
"""The surroundings in which a task expects to run: those of the user's process at `submit`.

They are the working directory, `sys.path`, `sys.argv`, the environment, the warnings filters, the
levels of loggers and, once managers are in use, multiprocessing's authentication key. Written with
marshal: both sides are the same interpreter.

Threads: `capture` any; `apply` and `settle` the worker's main thread. With the GIL.
Not: a watcher. `watched` tells what to compare in order to know that a capture is out of date;
the working directory is the kernel's and has to be asked for.
"""

from __future__ import annotations

import marshal
import os
import sys

from . import _log_levels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["apply", "capture", "pending", "settle", "watched"]

# Set for each worker by the pool; the user's value counts only once it changes.
THREAD_LIMITS = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

# Filters whose category's module has not been imported here yet; the worker's.
pending = False
_filters: list[tuple[Any, ...]] = []
_limits: dict[bytes, bytes | None] | None = None


def capture() -> bytes:
    try:
        cwd = os.getcwd()
    except OSError:  # it has been removed
        cwd = None
    path = [(cwd or ".") if entry == "" else entry for entry in sys.path if isinstance(entry, str)]
    argv = [str(argument) for argument in getattr(sys, "argv", ())]
    filters = [_encode(entry) for entry in _warnings().filters]
    levels = _log_levels.capture()
    return marshal.dumps((cwd, path, argv, _variables(), filters, levels, _authkey()))


def watched() -> tuple[Any, ...]:
    """What a capture was made from: compare identities, then contents (of lists: identities).

    In this order: the environment's own dictionary, `sys.path`, `sys.argv`, the warnings filters,
    multiprocessing's managers module or None.
    """
    return (
        getattr(os.environ, "_data", os.environ),
        sys.path,
        getattr(sys, "argv", None),
        _warnings().filters,
        sys.modules.get("multiprocessing.managers"),
    )


def apply(blob: bytes) -> None:
    """Makes this process's surroundings those of the blob, touching only what differs."""
    global _filters
    cwd, path, argv, environment, filters, levels, authkey = marshal.loads(blob)
    if cwd is not None and cwd != _cwd():
        os.chdir(cwd)
    if sys.path != path:
        sys.path[:] = path
    if getattr(sys, "argv", None) != argv:
        sys.argv = argv
    _apply_environment(environment)
    if filters != [_encode(entry) for entry in _warnings().filters]:
        _filters = filters
        settle()
    _log_levels.apply(levels)
    if authkey is not None:
        from multiprocessing import process

        process.current_process().authkey = authkey


def settle() -> None:
    """Puts the warnings filters in place, as far as their categories have been imported."""
    global pending
    import warnings

    known, pending = [], False
    for entry in _filters:
        decoded = _decode(entry)
        if decoded is None:
            pending = True
        else:
            known.append(decoded)
    warnings.resetwarnings()  # besides emptying the list, it makes old verdicts void
    warnings.filters.extend(known)  # type: ignore[attr-defined]


def _variables() -> dict[bytes, bytes]:
    data = getattr(os.environ, "_data", None)  # a tenth of what asking os.environ costs
    if data is None:  # somebody has put a mapping of his own there
        data = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    return dict(data)


def _apply_environment(environment: dict[bytes, bytes]) -> None:
    global _limits
    present = _variables()
    limits = {}
    for text in THREAD_LIMITS:
        name = text.encode()
        limits[name] = environment.pop(name, None)
        present.pop(name, None)
    if environment != present:
        for name in present.keys() - environment.keys():
            _set_variable(name, None)
        for name, value in environment.items():
            if present.get(name) != value:
                _set_variable(name, value)
    if _limits is not None and limits != _limits:
        for name, limit in limits.items():
            if limit != _limits[name]:
                _set_variable(name, limit)
    _limits = limits


def _set_variable(name: bytes, value: bytes | None) -> None:
    if value is None:
        os.environ.pop(os.fsdecode(name), None)
    else:
        os.environ[os.fsdecode(name)] = os.fsdecode(value)


def _warnings() -> Any:
    # The module replaces the list now and then (catch_warnings); without it the core's list holds.
    module = sys.modules.get("warnings")
    if module is None:
        import _warnings as module
    return module


def _encode(entry: tuple[Any, ...]) -> tuple[Any, ...]:
    action, message, category, module, line = entry
    kind = (category.__module__, category.__qualname__)
    return action, _encode_pattern(message), kind, _encode_pattern(module), line


def _encode_pattern(pattern: Any) -> Any:
    # None, a string that is compared, or a regular expression.
    if pattern is None or isinstance(pattern, str):
        return pattern
    return pattern.pattern, pattern.flags


def _decode(entry: tuple[Any, ...]) -> tuple[Any, ...] | None:
    action, message, (category_module, name), module, line = entry
    category: Any = sys.modules.get(category_module)
    for part in name.split("."):
        category = getattr(category, part, None)
    if category is None:
        return None
    return action, _decode_pattern(message), category, _decode_pattern(module), line


def _decode_pattern(pattern: Any) -> Any:
    if pattern is None or isinstance(pattern, str):
        return pattern
    import re

    return re.compile(*pattern)


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _authkey() -> bytes | None:
    if "multiprocessing.managers" not in sys.modules:
        return None
    process: Any = sys.modules["multiprocessing.process"]
    return bytes(process.current_process().authkey)

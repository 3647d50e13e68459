# SPDX-License-Identifier: BSD-3-Clause
"""Sends a worker's records of `logging` to the user's process, where `_log_handling` takes them.

The rule: a record that some handler of this worker's takes (one that an initializer configured, or
a library) is handled here and not sent; all others are handled in the user's process. `logging`
itself puts the question in `Logger.callHandlers`, so that is where it is answered. Nothing is added
to the root logger: `dictConfig`, and `basicConfig` with arguments, in an initializer work as
anywhere.

Threads: any. Processes: a child that a task forks sends as well.
Not: imported before something has imported `logging`, which is too large for every worker.
"""

from __future__ import annotations

import logging
import os
import struct
from _pickle import dumps
from functools import wraps
from itertools import count
from typing import Any

from . import _core, _log_levels, _worker, _worker_output

__all__ = ["HEADER", "PART_BYTES", "install"]

# A record travels in one message or more: (which record of which process, whether it ends here).
HEADER = struct.Struct("<IIB")
PART_BYTES = 60_000  # what a socket takes at once, whatever its buffer

_PLAIN = (type(None), bool, int, float, str, bytes)
_CUT = 1000  # of the `repr` of what cannot be pickled
_numbers = count()


def install() -> None:
    """Called once in the process, in the template or in the worker."""
    global _installed
    if not _installed:
        _installed = True
        _wrap_handling(logging.Logger)
        _wrap_configuring(logging)
    _log_levels.settle()


_installed = False


def _wrap_handling(logger_class: Any) -> None:
    standard = logger_class.callHandlers

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802
        if _worker_output.log_socket < 0 or _is_handled_here(self) or not _send(record):
            standard(self, record)

    logger_class.callHandlers = callHandlers


def _wrap_configuring(module: Any) -> None:
    """`logging.warning()` and its like call basicConfig() if there is no handler yet: no need."""
    standard = module.basicConfig

    @wraps(standard)
    def basicConfig(**kwargs: Any) -> None:  # noqa: N802
        if kwargs or _worker_output.log_socket < 0:
            standard(**kwargs)

    module.basicConfig = basicConfig


def _is_handled_here(logger: logging.Logger | None) -> bool:
    while logger is not None:
        for handler in logger.handlers:
            if not isinstance(handler, logging.NullHandler):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def _send(record: logging.LogRecord) -> bool:
    """False: there is nowhere to send it."""
    if not _is_open():
        return False
    try:
        data = dumps(_fields(record), 5)
    except Exception:  # its message cannot be made: say so as any handler does
        logging.Handler().handleError(record)
        return True
    _core.has_printed()
    number = next(_numbers) & 0xFFFF_FFFF
    try:
        for start in range(0, len(data), PART_BYTES):
            end = start + PART_BYTES
            head = HEADER.pack(os.getpid(), number, end >= len(data))
            os.write(_worker_output.log_socket, head + data[start:end])
    except OSError:
        return False
    return True


def _is_open() -> bool:
    try:
        found = os.fstat(_worker_output.log_socket)
    except OSError:
        return False
    return _worker_output.log_identity == (found.st_dev, found.st_ino)


def _fields(record: logging.LogRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """(attributes that are plain, others: their pickle or None, and what to show instead)"""
    plain, others = _tags(), {}
    for name, value in record.__dict__.items():
        if type(value) in _PLAIN:
            plain[name] = value
        elif name not in ("msg", "args", "exc_info"):
            others[name] = _portable(value)
    plain["args"] = record.args
    if not _is_plain_call(record.msg, record.args):
        plain["msg"], plain["args"] = record.getMessage(), None
    plain["exc_info"] = None
    if record.exc_info and not record.exc_text:
        plain["exc_text"] = logging.Formatter().formatException(record.exc_info)
    return plain, others


def _is_plain_call(msg: Any, args: Any) -> bool:
    if type(msg) is not str:
        return False
    if args is None:
        return True
    if type(args) is dict:
        return all(type(key) is str and type(value) in _PLAIN for key, value in args.items())
    return type(args) is tuple and all(type(value) in _PLAIN for value in args)


def _portable(value: Any) -> tuple[bytes | None, str]:
    try:
        shown = repr(value)[:_CUT]
    except Exception:
        shown = f"<{type(value).__name__}>"
    try:
        return dumps(value, 5), shown
    except Exception:
        return None, shown


def _tags() -> dict[str, Any]:
    worker = _worker.identity()
    running = _core.running_task()
    task = None
    if running is not None:
        number, function = running
        task = f"{getattr(function, '__qualname__', type(function).__name__)}#{number}"
    return {
        "owngil_worker": worker.rank if worker is not None else None,
        "owngil_pid": worker.pid if worker is not None else None,
        "owngil_pool": worker.pool if worker is not None else None,
        "owngil_task": task,
    }

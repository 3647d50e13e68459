# SPDX-License-Identifier: BSD-3-Clause
"""The levels of the user's loggers, which workers get so that they send nothing in vain.

They travel with the context of a task (`_context`). A worker changes a logger's level only when the
user's has changed, so what an initializer sets there stays.

Threads: with the GIL; `apply` and `settle` the worker's main thread.
Not: the last word. The user's own loggers decide what is handled (`_log_handling`).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # The root's level, what logging.disable() was told, and the levels of others by name.
    Levels = tuple[int, int, dict[str, int]]

__all__ = ["apply", "capture", "settle"]

_NOTSET = 0
_STANDARD: Levels = (30, 0, {})  # a root logger begins with WARNING

_wanted: Levels = _STANDARD
_applied: Levels = _STANDARD


def capture() -> Levels:
    logging: Any = sys.modules.get("logging")
    if logging is None:
        return _STANDARD
    levels = {
        name: logger.level
        for name, logger in list(logging.root.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and logger.level != _NOTSET
    }
    return logging.root.level, logging.root.manager.disable, levels


def apply(levels: Levels) -> None:
    global _wanted
    _wanted = levels
    settle()


def settle() -> None:
    """Puts them in place, once there is something to put them into."""
    global _applied
    logging: Any = sys.modules.get("logging")
    if _wanted == _applied or not hasattr(logging, "root"):
        return
    before, _applied = _applied, _wanted
    root, disable, named = _applied
    if root != before[0]:
        logging.root.setLevel(root)
    if disable != before[1]:
        logging.disable(disable)
    for name in before[2].keys() | named.keys():
        level = named.get(name, _NOTSET)
        if level != before[2].get(name, _NOTSET):
            logging.getLogger(name).setLevel(level)

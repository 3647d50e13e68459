# SPDX-License-Identifier: BSD-3-Clause
"""Sends what a worker prints and logs to the user's process.

Text goes through the worker's own pipes, at 1 and 2 if it is its process, which the user's process
reads. Records of
`logging` go through a socket (`_log_sending`, brought in once something imports `logging`).

Threads: the template's, the worker's main thread. With the GIL.
Not: for a pool with forward_output=False, whose workers have the user's own 1 and 2.
"""

from __future__ import annotations

import os
import sys

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

# Whatever the user's locale is, the user's stream encodes again what it is given.
_ENCODING = "utf-8"

# Where records go; -1: this process is no worker, or its output is not forwarded. A task may close
# it, and another file may get its number, so it is known by more than that.
log_socket = -1
log_identity = (0, 0)

_streams: tuple[TextIO, TextIO] | None = None  # made in advance


def prepare() -> None:
    """In a template: makes now what takes each worker half a millisecond. Uses up 1 and 2."""
    global _streams
    reading, writing = os.pipe()
    for number in (1, 2):
        os.dup2(writing, number)
    _streams = _make_streams(1, 2)
    os.close(reading)
    os.close(writing)


def forward(log: int, out: int = 1, err: int = 2) -> None:
    global log_socket, log_identity
    found = os.fstat(log)
    log_socket, log_identity = log, (found.st_dev, found.st_ino)
    _replace_streams(_streams or _make_streams(out, err))
    if "logging" in sys.modules:
        from . import _log_sending

        _log_sending.install()
    else:
        sys.meta_path.insert(0, _LoggingFinder)


def _make_streams(out: int, err: int) -> tuple[TextIO, TextIO]:
    of_out, of_err = (getattr(old, "errors", "strict") for old in (sys.__stdout__, sys.__stderr__))
    return _core.make_output_streams(_ENCODING, of_out, of_err, out, err)


def _replace_streams(news: tuple[TextIO, TextIO]) -> None:
    olds = sys.__stdout__, sys.__stderr__
    _core.forward_output()
    for name, old, new in zip(("stdout", "stderr"), olds, news, strict=True):
        if getattr(sys, name) is old:
            setattr(sys, name, new)
        elif old is not None:
            # A module that was preloaded has put its own there, which ends up in the old one.
            old.reconfigure(line_buffering=True, write_through=True)
        setattr(sys, f"__{name}__", new)


class _LoggingFinder:
    """Waits on `sys.meta_path` for the import of `logging`, and for nothing else."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "logging":
            return None
        if cls in sys.meta_path:
            sys.meta_path.remove(cls)
        from _frozen_importlib_external import PathFinder

        spec: Any = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _LoggingLoader(spec.loader)
        return spec


class _LoggingLoader:
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        from . import _log_sending

        _log_sending.install()

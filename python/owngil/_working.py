# SPDX-License-Identifier: BSD-3-Clause
"""Life of a worker, once its process or interpreter is there.

It gives the thread that it began with to C++ and leaves as any program does, so that `atexit` and
coverage run.

Threads: the worker's first.
Not: how it comes to be; see `_template` and `_host`. Nor what comes with each task, as `_context`.
"""

from __future__ import annotations

import os
import sys

# Every worker needs the context; what stops a task is in _errors.
from . import _context, _core, _errors, _worker, _worker_output  # noqa: F401

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]


def work(worker: Any, config: Config, kind: str) -> int:
    memory, rank, pool_name, fds, log, out, err = worker
    _reseed()
    if log >= 0:
        _worker_output.forward(log, out, err)
    else:
        _match_output()
    if kind == "process":
        _take_signals(config)
    _worker.enter(rank, os.getpid(), kind, pool_name)
    _worker.adopt_fds(fds)
    try:
        return _core.run_worker(*memory)
    except KeyboardInterrupt:
        return 0  # an idle worker; whoever pressed the keys ends the pool, or goes on without it


def _take_signals(config: Config) -> None:
    import _signal

    if not config["ignores_interrupt"]:
        # Python left the interrupt ignored, as it was when the process began: a Ctrl-C during
        # the start would have ended in a traceback.
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    _signal.signal(_core.INTERRUPT_SIGNAL, _core.interrupt_task)


def empty_main_module() -> None:
    """What tasks bring along from the user's `__main__` finds no names of the stub's there."""
    names = sys.modules["__main__"].__dict__
    for name in [name for name in names if not name.startswith("__")]:
        del names[name]


def _reseed() -> None:
    """`random` does so by itself, at the fork; these do not."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    torch_random = sys.modules.get("torch.random")
    if torch_random is not None:
        torch_random.default_generator.seed()


def _match_output() -> None:
    """The template's streams were made for the output that it had then."""
    for stream in (sys.stdout, sys.stderr):
        try:
            is_terminal = stream.isatty()
            if stream is sys.stdout and stream.line_buffering != is_terminal:
                stream.reconfigure(line_buffering=is_terminal)  # type: ignore[union-attr]
        except (AttributeError, ValueError, OSError):
            pass  # None or closed, or a module that was preloaded has put its own there


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            pass

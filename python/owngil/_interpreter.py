# SPDX-License-Identifier: BSD-3-Clause
"""Life of an interpreter that is a worker: `main` is its first word, the rest is as in a process.

Threads: the worker's own, with the GIL of its interpreter.
Not: who makes it; see `_host`.
"""

from __future__ import annotations

import os

from . import _core, _without_extensions, _worker, _working

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]

__all__ = ["main"]


def main(config: Config) -> Any:
    """What takes the worker's socket."""

    def work(socket: int) -> int:
        try:
            _working.empty_main_module()
            worker = _core.begin_interpreter(socket)
            _take_part()
            return _working.work(worker, config, "interpreter")
        except SystemExit:
            return 0
        finally:
            _working.flush()

    return work


def _take_part() -> None:
    """What ends the process, or is refused here, is told as this worker's."""
    import posix

    os._exit = posix._exit = _core.exit_process  # type: ignore[assignment]
    _worker.explain = explain
    _without_extensions.tell_of_refusals()


def explain(error: BaseException) -> None:
    """Adds the way out to what an interpreter was refused."""
    from ._ways_out import add_note

    add_note(error)

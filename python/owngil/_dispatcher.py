# SPDX-License-Identifier: BSD-3-Clause
"""The thread that calls callbacks and wakes `wait`, `as_completed` and asyncio; one a pool.

It exists only once somebody watches a future. A callback may block it: tasks, deaths and
deadlines are other threads' business.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._core import Completions

__all__ = ["Dispatcher"]


class Dispatcher:
    def __init__(self, completions: Completions, name: str) -> None:
        self._completions = completions
        self._name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Sees to it that the thread runs. Called by a future that comes to be watched."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                # A daemon: pools are shut down before the interpreter ends, and what is still
                # running then must not keep it.
                thread = threading.Thread(
                    target=_run,
                    args=(self._completions,),
                    name=f"{self._name}-dispatcher",
                    daemon=True,
                )
                thread.start()
                self._thread = thread

    def join(self) -> None:
        """Waits until all callbacks have been called. Requires: the pool has ended."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()


def _run(completions: Completions) -> None:
    # Signals are for the user's threads.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while (futures := completions.next()) is not None:
        for future in futures:
            future._resolve()
        del futures, future

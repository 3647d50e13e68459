# SPDX-License-Identifier: BSD-3-Clause
"""The thread that calls callbacks and wakes `wait`, `as_completed` and asyncio; one a pool.

It exists only once somebody watches a future. A callback may block it: tasks, deaths and
deadlines are other threads' business.
"""

from __future__ import annotations

import _signal  # `signal` makes classes of them, which takes half a millisecond
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._core import Completions

__all__ = ["Dispatcher"]


# Also of pools that nobody holds any more.
_threads: set[threading.Thread] = set()


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
                _threads.add(thread)
                thread.start()
                self._thread = thread

    def join(self, timeout: float | None = None) -> None:
        """Waits until all callbacks have been called. Requires: the pool has ended."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)


def join_all(timeout: float | None = None) -> None:
    """Requires: all pools have ended."""
    deadline = None if timeout is None else time.monotonic() + timeout
    for thread in list(_threads):
        thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))


def after_fork_in_child() -> None:
    _threads.clear()


def _run(completions: Completions) -> None:
    # Signals are for the user's threads.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    while (futures := completions.next()) is not None:
        for future in futures:
            future._resolve()
        del futures, future
    _threads.discard(threading.current_thread())

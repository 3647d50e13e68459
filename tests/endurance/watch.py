# SPDX-License-Identifier: BSD-3-Clause
"""What holds for every long run: it is marked, it may not hang, it leaves nothing behind."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable

from killer import MARK, marked

import owngil
from harness import hang_report, leaks

STALLED_S = 60.0


def mark_this_process() -> str:
    """From now on, everything that this process starts can be told from what others start."""
    os.environ[MARK] = uuid.uuid4().hex
    return os.environ[MARK]


class StallWatch:
    """A thread that ends the program, with everybody's stacks, once `progress` stands still."""

    def __init__(self, progress: Callable[[], int]) -> None:
        self._progress = progress
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall watch")

    def __enter__(self) -> StallWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        last, since = self._progress(), time.monotonic()
        while not self._closed.wait(1):
            if self._progress() != last:
                last, since = self._progress(), time.monotonic()
            elif time.monotonic() - since > STALLED_S:
                print(f"\nit hangs: nothing has ended for {STALLED_S:g} s, after {last} tasks")
                print(hang_report.describe(os.getpid()), flush=True)
                hang_report.kill_family(os.getpid())
                os._exit(1)


def what_is_left(before: leaks.Holdings, mark: str) -> list[str]:
    """What outlives the pools: of this process, and, once the runtime is closed, of all others."""
    left = leaks.check(before)
    owngil._core.close_runtime(leaks.TO_END_S)
    deadline = time.monotonic() + leaks.TO_END_S
    while others := {pid: name for pid, (name, _) in marked(mark).items() if pid != os.getpid()}:
        if time.monotonic() > deadline:
            return left + [f"process {pid} {name}" for pid, name in others.items()]
        time.sleep(0.01)
    return left

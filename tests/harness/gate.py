# SPDX-License-Identifier: BSD-3-Clause
"""A gate holds tasks back, in whatever process they run, until the test opens it.

Processes: travels to a worker as a path. Whoever enters leaves a mark (its pid, its thread and its
label), then waits for a file lock that the test's process holds; the kernel lets go of it when that
one ends.
Not: a barrier; those who enter after it was opened walk through.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path
from threading import get_native_id

from harness.conditions import wait_until


class Gate:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / f"gate-{uuid.uuid4().hex}"
        self.folder.mkdir()
        self._held = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def __getstate__(self) -> Path:
        return self.folder

    def __setstate__(self, folder: Path) -> None:
        self.folder = folder
        self._held = -1

    def enter(self, label: object = "") -> int:
        """Runs in a worker: leave the mark, wait until the gate is open; returns the pid."""
        (self.folder / f"entered-{os.getpid()}-{get_native_id()}-{label}").touch()
        waiting = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(waiting, fcntl.LOCK_SH)
        finally:
            os.close(waiting)
        return os.getpid()

    def entered(self) -> list[tuple[int, str]]:
        """(pid, label) of everybody who came to the gate."""
        marks = (path.name.split("-", 3) for path in self.folder.glob("entered-*"))
        return sorted((int(pid), label) for _, pid, _, label in marks)

    def wait_for_entered(self, count: int = 1) -> list[tuple[int, str]]:
        wait_until(lambda: len(self.entered()) >= count, f"{count} tasks at the gate")
        return self.entered()

    def open(self) -> None:
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

# SPDX-License-Identifier: BSD-3-Clause
"""A program in the foreground of a terminal, under a shell that has job control.

Keys are typed into the other side of a pseudo-terminal; the shell is `shell.py`.
Lifetime: leaving the `with` block ends the shell, the job and all that belongs to them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from harness import hang_report, scripts
from harness.conditions import wait_until

SHELL = Path(__file__).with_name("shell.py")
INTERRUPT, QUIT, SUSPEND = b"\x03", b"\x1c", b"\x1a"


class Terminal:
    """`screen()` is what was written to it, `events()` what the shell has seen of the job."""

    def __init__(self, source: str, *arguments: str) -> None:
        self._keyboard, tty = os.openpty()
        os.set_blocking(self._keyboard, False)
        orders, self._orders = os.pipe()
        self._events, events = os.pipe()
        os.set_blocking(self._events, False)
        job = [sys.executable, "-c", scripts.dedent(source), *arguments]
        environment = {name: os.environ[name] for name in os.environ.keys() - scripts.UNWANTED}
        self._shell = subprocess.Popen(
            [sys.executable, SHELL, str(orders), str(events), *job],
            stdin=tty,
            stdout=tty,
            stderr=tty,
            start_new_session=True,
            pass_fds=(orders, events),
            env={**environment, "NO_COLOR": "1"},
        )
        for fd in (tty, orders, events):
            os.close(fd)
        self._read = {self._keyboard: b"", self._events: b""}
        self.job = 0

    def __enter__(self) -> Terminal:
        self.job = int(self.wait_for_event("started").split()[1])
        return self

    def __exit__(self, *_: object) -> None:
        if self._shell.poll() is None:
            hang_report.kill_family(self._shell.pid)
            self._shell.kill()
            self._shell.wait()
        for fd in (self._keyboard, self._orders, self._events):
            with contextlib.suppress(OSError):
                os.close(fd)

    def type(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    def hang_up(self) -> None:
        os.close(self._keyboard)

    def order(self, word: str) -> None:
        """ "fg": continue the job in the foreground. "cont": without telling its group."""
        os.write(self._orders, word.encode() + b"\n")

    def screen(self) -> str:
        return self._so_far(self._keyboard).replace("\r\n", "\n")

    def events(self) -> list[str]:
        return self._so_far(self._events).splitlines()

    def wait_for(self, text: str) -> None:
        try:
            wait_until(lambda: text in self.screen())
        except AssertionError as error:
            raise AssertionError(f"{text!r} is not on the screen:\n{self.screen()}") from error

    def wait_for_event(self, event: str, count: int = 1) -> str:
        """Returns the line of the last of that many."""

        def seen() -> list[str]:
            return [line for line in self.events() if line.startswith(event)]

        wait_until(lambda: len(seen()) >= count, f"the shell sees {event!r}")
        return seen()[count - 1]

    def wait_for_end(self) -> int:
        """The job's exit code, or minus the signal that ended it."""
        return int(self.wait_for_event("ended").split()[1])

    def _so_far(self, fd: int) -> str:
        with contextlib.suppress(OSError):  # nothing new, or nobody left who could write
            while data := os.read(fd, 1 << 16):
                self._read[fd] += data
        return self._read[fd].decode(errors="replace")

# SPDX-License-Identifier: BSD-3-Clause
"""One line on standard error that says what runs now and for how long; silent off a terminal."""

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import Self

_TICK_S = 0.2


class LiveLine:
    """A context manager. A thread of its own redraws the line five times a second.

    Threads: `show` and `advance` are called by one thread, the one that does the work.
    """

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._text = ""
        self._done = 0
        self._total = 0
        self._since = time.monotonic()
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="owngil-live-line", daemon=True)

    def __enter__(self) -> Self:
        if self._is_terminal:
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_terminal:
            self._stop.set()
            self._ticker.join()
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    def show(self, text: str, total: int = 0) -> None:
        """Name what begins now; with `total`, its items are counted by `advance`."""
        self._done, self._total = 0, total
        self._since = time.monotonic()
        self._text = text

    def advance(self) -> None:
        """One more item is done."""
        self._done += 1

    def _tick(self) -> None:
        while not self._stop.wait(_TICK_S):
            if self._text:
                line = f"{self._text}  {time.monotonic() - self._since:.1f} s"
                if self._total:
                    line += f"  {self._done}/{self._total}"
                columns = shutil.get_terminal_size().columns
                sys.stderr.write(f"\r\x1b[2K{line[: columns - 1]}")
                sys.stderr.flush()

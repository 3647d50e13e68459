# SPDX-License-Identifier: BSD-3-Clause
"""A pytest plugin: a test that hangs fails, with the stacks of all its processes.

Three nets, one under the other: (1) a watchdog thread writes the report and interrupts the main
thread with a real-time signal, which user code has no reason to use; (2) where that does not help,
it ends the run with the report on the real stderr; (3) where not even the watchdog gets the GIL,
faulthandler's own thread does.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Generator
from types import FrameType

import pytest

from harness import hang_report

DEFAULT_LIMIT_S = float(os.environ.get("TEST_LIMIT_S", "60"))
TO_REACT_S = 20.0
TO_REPORT_S = 120.0
INTERRUPT = signal.SIGRTMIN + 9
EXIT_CODE = 70


class TimeLimit:
    def __init__(self) -> None:
        self._stderr = os.dup(2)
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._what = ""
        self._report = ""
        signal.signal(INTERRUPT, self._interrupted)
        threading.Thread(target=self._watch, name="time limit", daemon=True).start()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        return (yield from self._limited(item, "setup"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        return (yield from self._limited(item, "call"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        return (yield from self._limited(item, "teardown"))

    def _limited(self, item: pytest.Item, phase: str) -> Generator[None, object, object]:
        mark = item.get_closest_marker("time_limit")
        limit_s = float(mark.args[0]) if mark else DEFAULT_LIMIT_S
        faulthandler.dump_traceback_later(
            limit_s + TO_REPORT_S + TO_REACT_S + 10, exit=True, file=self._stderr
        )
        self._arm(time.monotonic() + limit_s, f"{item.nodeid} ({phase}, {limit_s:g} s)")
        try:
            return (yield)
        finally:
            self._arm(None, "")
            faulthandler.cancel_dump_traceback_later()
            if self._report:
                item.add_report_section(phase, "hang", self._report)
                self._report = ""

    def _arm(self, deadline: float | None, what: str) -> None:
        with self._changed:
            self._deadline, self._what = deadline, what
            self._changed.notify()

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with self._changed:
            while True:
                self._changed.wait(self._left())
                if self._left() == 0:
                    self._act()

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _act(self) -> None:
        self._report = hang_report.describe(os.getpid())
        signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)
        hang_report.ask_for_python_stacks(os.getpid())
        hung = self._what
        self._changed.wait_for(lambda: self._what != hung, TO_REACT_S)
        if self._what == hung:
            text = f"\n{hung} hangs and cannot be interrupted\n{self._report}\n"
            os.write(self._stderr, text.encode())
            hang_report.kill_family(os.getpid())
            os._exit(EXIT_CODE)

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"hangs: {self._what}; see the section 'hang'")

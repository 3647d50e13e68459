# SPDX-License-Identifier: BSD-3-Clause
"""Does anything rely on a thread being in time?

Runs a command, by default the tests of Python and of failures, and holds up random threads of all
its processes meanwhile, one after the other, each for some milliseconds. On a machine that is busy
with other things that happens to any thread at any instant, but seldom; what fails here can fail
there.

A thread is stopped as by a debugger (ptrace) and learns nothing of it, but for calls that any stop
interrupts. Without root, systems that let nobody trace but his own children spare the workers: they
are a guardian's, and that is nobody's child. The exit code is that of the command.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import watch
from killer import marked
from seeds import add_seed

TESTS = (sys.executable, "-m", "pytest", "-q", "tests/python", "tests/failures")
# It counts how often the threads of an idle pool wake up, and each delay wakes one.
BUT = "--ignore=tests/python/test_silence.py"

LOOK_AGAIN_S = 0.05
# <sys/ptrace.h>, <sys/wait.h>
SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
ALL_CHILDREN = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def trace(request: int, thread: int, data: int = 0) -> bool:
    """False: the thread has ended, does not stand still, or may not be traced."""
    if _libc.ptrace(request, thread, None, data) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ESRCH, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number))


def hold_up(thread: int, seconds: float) -> bool:
    """False: it could not be stopped."""
    if not trace(SEIZE, thread):
        return False
    trace(INTERRUPT, thread)
    was_held = False
    while True:
        try:
            seen, status = os.waitpid(thread, os.WNOHANG | ALL_CHILDREN)
        except ChildProcessError:
            return was_held
        if seen and not os.WIFSTOPPED(status):
            return was_held  # it has ended
        if seen:
            if not was_held:
                time.sleep(seconds)
            was_held = True
            # What stopped it may have been a signal, which it has yet to get.
            if trace(DETACH, thread, 0 if status >> 16 else os.WSTOPSIG(status)):
                return True
        time.sleep(1e-4)


def may_trace_children() -> bool:
    with subprocess.Popen("cat", stdin=subprocess.PIPE) as child:
        return hold_up(child.pid, 0)


def threads_by_name(mark: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for pid in marked(mark):
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                name = Path(f"/proc/{pid}/task/{thread}/comm").read_text().strip()
                found.setdefault(name, []).append(int(thread))
        except OSError:
            continue  # it has ended
    return found


class Delays:
    """What has been held up, by the threads' names; each name is as likely as any other."""

    def __init__(self, given: argparse.Namespace, mark: str) -> None:
        self.held: Counter[str] = Counter()
        self.seconds = 0.0
        self._given, self._mark = given, mark
        self._random = random.Random(given.seed)
        self._threads: dict[str, list[int]] = {}
        self._looked = 0.0

    def next(self) -> None:
        time.sleep(self._random.uniform(0, 2e-3 * self._given.pause_ms))
        if time.monotonic() - self._looked > LOOK_AGAIN_S:
            self._threads = threads_by_name(self._mark)
            self._looked = time.monotonic()
        names = sorted(name for name in self._threads if self._given.only in name)
        if not names:
            return
        name = self._random.choice(names)
        seconds = self._random.uniform(0, 1e-3 * self._given.longest_ms)
        if hold_up(self._random.choice(self._threads[name]), seconds):
            self.held[name] += 1
            self.seconds += seconds

    def __str__(self) -> str:
        names = ", ".join(f"{count:,} {name}" for name, count in self.held.most_common())
        return (
            f"{self.held.total():,} times a thread was held up, for {self.seconds:.1f} s in all, "
            f"seed {self._given.seed}: {names or 'none could be'}"
        )


def run(given: argparse.Namespace) -> int:
    mark = watch.mark_this_process()
    # Not its parent: who traces a thread learns of its end first, and a parent would miss it.
    between = os.fork()
    if between == 0:
        code = subprocess.call(given.command)
        os._exit(code if code >= 0 else 128 - code)  # as a shell says it
    delays = Delays(given, mark)
    while not (ended := os.waitpid(between, os.WNOHANG))[0]:
        delays.next()
    print(delays)
    return os.waitstatus_to_exitcode(ended[1])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev delays",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--longest-ms", type=float, default=60, metavar="MS", help="default: 60")
    parser.add_argument(
        "--pause-ms", type=float, default=2, metavar="MS", help="between two, the mean; default: 2"
    )
    parser.add_argument(
        "--only", default="", metavar="NAME", help="threads with this in their name: owngil-control"
    )
    add_seed(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="default: the tests")
    given = parser.parse_args()
    given.command = given.command or [*TESTS, BUT]
    if not may_trace_children():
        parser.error("this system lets no process stop the threads of another (ptrace)")
    return run(given)


if __name__ == "__main__":
    sys.exit(main())

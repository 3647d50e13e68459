# SPDX-License-Identifier: BSD-3-Clause
"""What can go wrong in a worker: each event as a function that makes it happen, here and now.

Runs in workers. An event that the task survives returns, and the task goes on to its end.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

FOR_EVER_S = 3600.0


class UnpicklableError(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("unpicklable")
        self.lock = threading.Lock()


class UnmakableError(Exception):
    """Pickles, but cannot be made again from its args."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fire(event: str) -> None:
    EVENTS[event]()


def _raises() -> None:
    raise ValueError("an event")


def _raises_unpicklable() -> None:
    raise UnpicklableError


def _raises_unmakable() -> None:
    raise UnmakableError(1, 2)


def _sends_itself(number: int) -> Callable[[], None]:
    def send() -> None:
        os.kill(os.getpid(), number)
        signal.pause()  # it may be delivered a moment later

    return send


def _reads_address_zero() -> None:
    ctypes.string_at(0)


def _overflows_the_stack() -> None:
    """In C, where no limit of Python's counts: the C library parses expressions recursively."""
    ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(1024), b"(" * 2_000_000, 1)


def _needs_too_much_memory() -> None:
    bytes(1 << 60)


def _meets_a_memory_limit() -> None:
    """What the limit leaves is less than what is asked for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (256 << 20, hard))
    try:
        bytes(1 << 30)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _loops_in_python() -> None:
    while True:
        pass


def _blocks_in_c() -> None:
    time.sleep(FOR_EVER_S)


def _blocks_in_c_with_the_gil() -> None:
    """No signal's handler can run either: waiting for a mutex goes on after it."""
    library, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(256)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def _writes_much() -> None:
    """100 MB, in lines, half of it to each."""
    line = b"x" * 1023 + b"\n"
    for _ in range(50):
        for fd in (1, 2):
            block = memoryview(line * 1024)
            while block:
                block = block[os.write(fd, block) :]


def _closes_every_fd() -> None:
    os.closerange(3, 65536)


def _replaces_signal_handlers() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if number < signal.SIGRTMIN:  # those are the threads' and the pool's
            signal.signal(number, signal.SIG_IGN)


def _moves_house() -> None:
    """Directory, environment and umask are not what they were."""
    os.chdir("/")
    os.environ.clear()
    os.umask(0o777)


def _leaves_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(0.3,)).start()


def _leaves_a_daemon_thread() -> None:
    threading.Thread(target=time.sleep, args=(FOR_EVER_S,), daemon=True).start()


def _leaves_a_child() -> None:
    """One that goes by itself in the end, as the test's process must leave nothing behind."""
    subprocess.Popen(["sleep", "3"]).returncode = 0  # so that Popen does not complain


def _forks_and_returns_twice() -> None:
    os.fork()


def _execs() -> None:
    os.execv("/bin/true", ["true"])


EVENTS: dict[str, Callable[[], None]] = {
    "raises": _raises,
    "raises what cannot be pickled": _raises_unpicklable,
    "raises what cannot be unpickled": _raises_unmakable,
    "sys.exit(3)": lambda: sys.exit(3),
    "os._exit(7)": lambda: os._exit(7),
    "SIGKILL": _sends_itself(signal.SIGKILL),
    "SIGABRT": _sends_itself(signal.SIGABRT),
    "SIGTERM": _sends_itself(signal.SIGTERM),
    "SIGSTOP": _sends_itself(signal.SIGSTOP),
    "segfault": _reads_address_zero,
    "stack overflow in C": _overflows_the_stack,
    "MemoryError": _needs_too_much_memory,
    "memory limit of the process": _meets_a_memory_limit,
    "endless Python loop": _loops_in_python,
    "endless C call without the GIL": _blocks_in_c,
    "endless C call with the GIL": _blocks_in_c_with_the_gil,
    "writes 100 MB to stdout and stderr": _writes_much,
    "closes every fd": _closes_every_fd,
    "replaces signal handlers": _replaces_signal_handlers,
    "changes cwd, environment, umask": _moves_house,
    "leaves a thread": _leaves_a_thread,
    "leaves a daemon thread": _leaves_a_daemon_thread,
    "leaves a child process": _leaves_a_child,
    "forks and returns twice": _forks_and_returns_twice,
    "exec": _execs,
}

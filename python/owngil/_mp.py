# SPDX-License-Identifier: BSD-3-Clause
"""Lets multiprocessing's locks, queues, connections and values travel in `initargs`.

They allow themselves to be pickled only while a process is being spawned. So this poses as the
spawning of one: named semaphores travel by name, and a descriptor by its place in a list that goes
along with the launch of each worker (SCM_RIGHTS). Nothing else would do: opening /proc/PID/fd
fails for sockets, and pidfd_getfd for whoever is not an ancestor where Yama restricts ptrace.

Lifetime: the descriptors of `dump_initargs` are copies and the caller's to close, when no further
worker will be launched. It keeps `initargs` too: with a lock its name in the system goes away.
Not: a way for locks of the fork context, which have no name; multiprocessing says so.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["dump_initargs", "load_initargs", "pack_initializer"]


class PassedFd:
    """A descriptor on its way: what multiprocessing calls a DupFd."""

    received: list[int] = []  # noqa: RUF012 - while initargs are loaded
    taken: set[int] = set()  # noqa: RUF012

    def __init__(self, index: int) -> None:
        self.index = index

    def detach(self) -> int:
        fd = PassedFd.received[self.index]
        if self.index in PassedFd.taken:
            return os.dup(fd)
        PassedFd.taken.add(self.index)
        return fd


class _Launch:
    """What multiprocessing asks of the process that it believes is being spawned."""

    method = "spawn"
    DupFd = PassedFd

    def __init__(self) -> None:
        self.fds: list[int] = []

    def duplicate_for_child(self, fd: int) -> int:
        self.fds.append(os.dup(fd))
        return len(self.fds) - 1


def pack_initializer(function: Any, initargs: tuple[Any, ...]) -> tuple[Any, list[int]]:
    """What to run as the workers' initializer, without arguments, and the descriptors it needs."""
    from ._worker import Initializer

    arguments, fds = dump_initargs(initargs)
    return Initializer(function, arguments), fds


def dump_initargs(initargs: tuple[Any, ...]) -> tuple[bytes, list[int]]:
    if not initargs or "multiprocessing.context" not in sys.modules:
        from ._pickling import dump

        return marshal.dumps((None, None, dump(initargs))), []
    from multiprocessing import context, process, resource_tracker
    from multiprocessing.reduction import ForkingPickler

    from ._shipping import dumps

    launch = _Launch()
    outer = context.get_spawning_popen()
    context.set_spawning_popen(launch)  # type: ignore[arg-type]
    try:
        reducers = dict(ForkingPickler._extra_reducers)  # type: ignore[attr-defined]
        data = dumps(initargs, reducers=reducers)
        tracker_fd = resource_tracker._resource_tracker._fd  # type: ignore[attr-defined]
        tracker = None if tracker_fd is None else launch.duplicate_for_child(tracker_fd)
        authkey = bytes(process.current_process().authkey)
    except BaseException:
        for fd in launch.fds:
            os.close(fd)
        raise
    finally:
        context.set_spawning_popen(outer)
    return marshal.dumps((tracker, authkey, data)), launch.fds


def load_initargs(arguments: bytes, fds: list[int]) -> tuple[Any, ...]:
    """Takes over the descriptors: those that nobody wants are closed."""
    from _pickle import loads

    tracker, authkey, data = marshal.loads(arguments)
    PassedFd.received, PassedFd.taken = fds, set()
    try:
        if authkey is not None:
            from multiprocessing import process

            process.current_process().authkey = authkey
        if tracker is not None:
            from multiprocessing import resource_tracker

            # As a spawned process has it: one tracker, the user's, for all.
            resource_tracker._resource_tracker._fd = (  # type: ignore[attr-defined]
                PassedFd(tracker).detach()
            )
        initargs: tuple[Any, ...] = loads(data)
        return initargs
    finally:
        for index, fd in enumerate(fds):
            if index not in PassedFd.taken:
                os.close(fd)
        PassedFd.received = []

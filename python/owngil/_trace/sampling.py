# SPDX-License-Identifier: BSD-3-Clause
"""Samples this interpreter's GIL into the spool: one thread looks, one writes.

They are no daemons, which an interpreter that is a worker may not have; so they are told to stop
before it waits for its threads.
"""

from __future__ import annotations

import os
import threading
import time

from .spool import STOP, append

__all__ = ["Sampling", "sample_in_worker"]

INTERVAL_NS = 200_000
_BATCH_S = 0.1
_FOR_EVER_NS = 1 << 60

_live: set[threading.Event] = set()  # of what samples; set, it ends


def _stop_all() -> None:
    for told_to_stop in list(_live):
        told_to_stop.set()


threading._register_atexit(_stop_all)  # type: ignore[attr-defined]


class Sampling:
    """Samples until it is told to stop, or the file STOP is there."""

    def __init__(self, spool: str) -> None:
        from owngil._gil import Sampler

        self._spool = spool
        self._told_to_stop = threading.Event()
        self._sampler = Sampler(INTERVAL_NS, keep_slices=True)
        # Else it would ask the current thread, which `threading` may not know in an interpreter.
        daemon = False
        self._looker = threading.Thread(
            target=self._sampler.run,
            args=(_FOR_EVER_NS,),
            name="owngil-trace-look",
            daemon=daemon,
        )
        self._writer = threading.Thread(
            target=self._write, name="owngil-trace-write", daemon=daemon
        )
        _live.add(self._told_to_stop)
        append(spool, {"sampling": time.monotonic_ns()})
        self._looker.start()
        self._writer.start()

    def stop(self) -> None:
        """The last slices are in the spool when this returns."""
        self._told_to_stop.set()
        self._writer.join()

    def _write(self) -> None:
        stop = os.path.join(self._spool, STOP)
        while not self._told_to_stop.wait(_BATCH_S):
            if os.path.exists(stop) or not os.path.isdir(self._spool):
                break
            self._take()
        self._sampler.stop()
        self._looker.join()
        self._take()
        append(self._spool, {"end": time.monotonic_ns()})
        _live.discard(self._told_to_stop)

    def _take(self) -> None:
        found = self._sampler.take()
        threads = {
            thread.native_id: thread.name
            for thread in threading.enumerate()
            if thread.native_id is not None
        }
        append(
            self._spool,
            {
                "slices": found["slices"],
                "threads": threads,
                "cpu_ns": found["cpu_ns"],
                "switches": found["switches"],
                "dropped": found["dropped"],
                "sees_waiters": found["sees_waiters"],
            },
        )


_in_worker: dict[str, Sampling | None] = {}  # spool -> its sampling; one is not to be had
_lock = threading.Lock()


def sample_in_worker(spool: str) -> None:
    """Start sampling in this process unless it samples into this spool already."""
    if spool in _in_worker:
        return
    with _lock:
        if spool in _in_worker:
            return
        try:
            _in_worker[spool] = Sampling(spool)
        except (NotImplementedError, ImportError) as error:
            _in_worker[spool] = None
            append(spool, {"blind": str(error)})

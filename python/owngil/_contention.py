# SPDX-License-Identifier: BSD-3-Clause
"""`owngil.gil_contention()`: how much threads of this interpreter wait for its GIL."""

from __future__ import annotations

import threading
from dataclasses import dataclass

__all__ = ["GilContention", "HeldShare", "gil_contention"]

_INTERVAL_NS = 500_000


@dataclass(frozen=True)
class GilContention:
    """Shares of the time that was sampled, each from 0 to 1. float() is `waiting`."""

    waiting: float  # at least one thread waited for the GIL
    held: float  # some thread held it
    by_thread: dict[str, tuple[float, float]]  # name -> (holding, waiting)
    samples: int

    def __float__(self) -> float:
        return self.waiting

    def _repr_html_(self) -> str:
        from ._report.contention import contention_html

        return contention_html(self)


def gil_contention(seconds: float = 0.1) -> GilContention:
    """Watch this interpreter's GIL for so many seconds, from outside: nobody is held up by it.

    The calling thread sleeps meanwhile and is not counted. What the kernel says about where each
    thread waits is compared with where the GIL lies, 2,000 times a second.
    Raises NotImplementedError where the GIL, or who waits for it, cannot be seen.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be more than 0, not {seconds!r}")
    from ._gil import Sampler

    sampler = Sampler(_INTERVAL_NS)
    sampler.run(int(seconds * 1e9))
    found = sampler.take()
    samples = found["samples"]
    if samples and not found["sees_waiters"] and threading.active_count() > 1:
        raise NotImplementedError(
            "who waits for the GIL cannot be seen: this kernel has no /proc/self/task/*/syscall"
        )
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    threads = sorted({*found["holding"], *found["waiting"]})
    total = samples or 1
    return GilContention(
        found["waited_for"] / total,
        found["held"] / total,
        {
            names.get(thread, f"thread {thread}"): (
                found["holding"].get(thread, 0) / total,
                found["waiting"].get(thread, 0) / total,
            )
            for thread in threads
        },
        samples,
    )


class HeldShare:
    """While its block runs, samples whether anybody holds the GIL; `value` is None if unknown."""

    value: float | None = None
    _LEAST_SAMPLES = 20

    def __init__(self) -> None:
        from ._gil import Sampler

        self._thread: threading.Thread | None = None
        try:
            self._sampler = Sampler(_INTERVAL_NS)
        except NotImplementedError:
            return
        self._thread = threading.Thread(target=self._sampler.run, args=(1 << 60,))

    def __enter__(self) -> HeldShare:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is None:
            return
        self._sampler.stop()
        self._thread.join()
        found = self._sampler.take()
        if found["samples"] >= self._LEAST_SAMPLES:
            self.value = found["held"] / found["samples"]

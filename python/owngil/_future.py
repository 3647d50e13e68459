# SPDX-License-Identifier: BSD-3-Clause
"""`Future`: what `Pool.submit` returns.

The C half keeps the state and the result; what is rare comes from the standard library's class,
which finds `_condition`, `_state` and `_waiters` there. Their first touch makes the dispatcher
tell the future when it completes.
"""

from __future__ import annotations

import concurrent.futures

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, TypeVar

    T = TypeVar("T")
else:
    T = object  # `typing` takes 3 ms to import; the standard's class takes anything in brackets

__all__ = ["Future"]


class Future(_core.FutureBase, concurrent.futures.Future[T]):
    """The result of a call that a pool runs: a `concurrent.futures.Future` in every respect.

    `done()` collects what workers have sent, so polling makes progress. Results are decoded in
    the thread that asks for them. Callbacks run in the pool's dispatcher thread.
    """

    __slots__ = ()

    def set_running_or_notify_cancel(self) -> bool:
        if self._state == "CANCELLED_AND_NOTIFIED":
            return False  # cancel() has notified already
        return super().set_running_or_notify_cancel()

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the result in a coroutine; cancelling that one stops the call, if it has begun
        too, as `cancel(running=True)` does."""
        import asyncio

        try:
            result = yield from asyncio.wrap_future(self).__await__()
        except asyncio.CancelledError:
            self.cancel(running=True)
            raise
        return result

    def _resolve(self) -> None:
        """The task is complete: tell the waiters and call the callbacks, once."""
        with self._condition:
            if not self._settle():
                return
            if self._waiters:
                if self._state == "CANCELLED_AND_NOTIFIED":
                    tell = "add_cancelled"
                else:
                    tell = "add_result" if self.exception() is None else "add_exception"
                for waiter in self._waiters:
                    getattr(waiter, tell)(self)
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]


_core.set_future_type(Future)

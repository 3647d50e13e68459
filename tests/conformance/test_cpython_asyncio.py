# SPDX-License-Identifier: BSD-3-Clause
"""asyncio's own tests of run_in_executor and wrap_future, with the pool for their executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import unittest.mock
from typing import Any

import pytest
import subjects

import owngil

if subjects.IS_STANDARD:
    pytest.skip("the standard pool cannot run a test's local functions", allow_module_level=True)

try:
    from test.test_asyncio import test_events, test_futures
except ImportError:
    pytest.skip("this Python comes without test.test_asyncio", allow_module_level=True)


tearDownModule = test_futures.tearDownModule  # its tests leave an event loop policy


class PoolEventLoop(asyncio.SelectorEventLoop):
    """An event loop whose default executor is a pool, which set_default_executor refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = owngil.Pool(2)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        return super().run_in_executor(executor or self.pool, func, *args)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        self.pool.shutdown()

    def close(self) -> None:
        self.pool.shutdown()
        super().close()


def only(case: type, *names: str) -> dict[str, Any]:
    """The class body that leaves out all other tests, and those that this Python does not have."""
    tests = unittest.TestLoader().getTestCaseNames(case)  # type: ignore[arg-type]
    return {name: None for name in tests if name not in names}


class RunInExecutor(test_events.EventLoopTestsMixin, test_events.test_utils.TestCase):  # type: ignore[misc]
    locals().update(
        only(test_events.EventLoopTestsMixin, "test_run_in_executor", "test_run_in_executor_cancel")
    )

    def create_event_loop(self) -> asyncio.AbstractEventLoop:
        return PoolEventLoop()


class WrapFuture(test_futures.CFutureTests):  # type: ignore[misc]
    locals().update(
        only(
            test_futures.CFutureTests,
            "test_wrap_future",
            "test_wrap_future_without_loop",
            "test_wrap_future_use_running_loop",
            "test_wrap_future_use_global_loop",
            "test_wrap_future_cancel",
            "test_wrap_future_cancel2",
        )
    )

    def setUp(self) -> None:
        patch = unittest.mock.patch.object(concurrent.futures, "ThreadPoolExecutor", owngil.Pool)
        self.addCleanup(patch.stop)
        super().setUp()
        patch.start()


class EventLoopInAWorker(test_events.TestCGetEventLoop):  # type: ignore[misc]
    locals().update(only(test_events.TestCGetEventLoop, "test_get_event_loop_new_process"))

    def setUp(self) -> None:
        patch = unittest.mock.patch.object(concurrent.futures, "ProcessPoolExecutor", owngil.Pool)
        self.addCleanup(patch.stop)
        super().setUp()
        patch.start()

# SPDX-License-Identifier: BSD-3-Clause
"""CPython's tests of its InterpreterPoolExecutor, since 3.14, those that say something of a pool.

Those that it shares with other executors are in `test_cpython_executor.py`.
"""

from __future__ import annotations

import unittest
from typing import Any

import pytest
import subjects

upstream: Any = pytest.importorskip(
    "test.test_concurrent_futures.test_interpreter_pool",
    reason="this Python has no InterpreterPoolExecutor, or comes without its tests",
)

NOT_APPLICABLE = {
    "it hands out numbers of descriptors and queues of one process; these workers have their own": (
        "test_init_func",
        "test_saturation",
        "test_blocking",
        "test_blocking_with_limited_workers",
    ),
    "it is about what cannot be sent there, and can here": (
        "test_init_closure",
        "test_submit_closure",
        "test_submit_local_instance",
        "test_submit_instance_method",
    ),
    "it names the errors of the standard's interpreters": (
        "test_init_instance_method",
        "test_init_exception_in_func",
        "test_submit_exception_in_func",
        "test_pickle_errors_propagate",
    ),
    "it is about the standard's own threads and modules": (
        "test_idle_thread_reuse",
        "test_import_interpreter_pool_executor",
        "test_thread_name_prefix",
        "test_thread_name_prefix_with_thread_get_name",
    ),
    "asyncio takes nothing but a ThreadPoolExecutor for its default": ("test_default_executor",),
    "upstream expects it to fail: nobody runs scripts": (
        "test_init_exception_in_script",
        "test_init_script",
        "test_init_script_args",
        "test_submit_exception_in_script",
        "test_submit_script",
    ),
}


def _for_us(case: type[unittest.TestCase]) -> type:
    """Without what is inherited, and with the reason for each that is left out."""
    names = unittest.TestLoader().getTestCaseNames(case)
    left_out: dict[str, Any] = {name: None for name in names if name not in vars(case)}
    if subjects.IS_STANDARD:
        return type(case.__name__, (case,), {"__module__": __name__, **left_out})
    for reason, group in NOT_APPLICABLE.items():
        for name in set(group) & set(names):
            left_out[name] = unittest.skip(reason)(lambda self: None)
    bases = (subjects.InterpreterPoolMixin, case)
    return type(case.__name__, bases, {"__module__": __name__, **left_out})


InterpreterPoolExecutorTest = _for_us(upstream.InterpreterPoolExecutorTest)
AsyncioTest = _for_us(upstream.AsyncioTest)

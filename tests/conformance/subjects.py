# SPDX-License-Identifier: BSD-3-Clause
"""The executors that CPython's own tests are run against, as mixins like those of its `util`.

CONFORMANCE_SUBJECT=standard runs the standard library's own pool instead: what fails then is the
harness's fault, or the running Python's.
"""

from __future__ import annotations

import os
import unittest
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from unittest import mock

import pytest

import owngil
from harness import kinds

try:
    from test.support import script_helper
    from test.test_concurrent_futures import test_shutdown, util
except ImportError:  # a distribution may leave them out, and 3.12.1 forgot to install them
    pytest.skip("this Python comes without test.test_concurrent_futures", allow_module_level=True)

IS_STANDARD = os.environ.get("CONFORMANCE_SUBJECT") == "standard"

# What upstream's scripts say, and what they must say to use the pool of this package.
SCRIPT_CHANGES = {
    "from concurrent.futures import Pool": "from owngil import Pool",
    "from concurrent.futures import InterpreterKindPool": "import functools, owngil; "
    "InterpreterKindPool = functools.partial(owngil.Pool, kind='interpreter')",
    "from concurrent.futures import AutoKindPool": "import functools, owngil; "
    "AutoKindPool = functools.partial(owngil.Pool, kind='auto')",
    "from concurrent.futures import InterpreterPoolExecutor": "import functools, owngil; "
    "InterpreterPoolExecutor = functools.partial(owngil.Pool, kind='interpreter')",
    "if 'forkserver': multiprocessing": "import multiprocessing; multiprocessing",
    "if 'spawn': multiprocessing": "import multiprocessing; multiprocessing",
}


def _for_us(source: str) -> str:
    for upstream, ours in SCRIPT_CHANGES.items():
        source = source.replace(upstream, ours)
    return source


class PoolMixin(util.ProcessPoolForkserverMixin):  # type: ignore[misc]
    """A pool whose workers are forked from the template."""

    executor_type: Any = owngil.Pool

    def setUp(self) -> None:
        run, make = test_shutdown.assert_python_ok, script_helper.make_script
        for module, name, changed in (
            (test_shutdown, run.__name__, lambda o, source, **v: run(o, _for_us(source), **v)),
            (script_helper, make.__name__, lambda d, n, source: make(d, n, _for_us(source))),
        ):
            self.enterContext(mock.patch.object(module, name, changed))
        super().setUp()


class SpawnPoolMixin(PoolMixin):
    """A pool whose workers are started one by one."""

    ctx = "spawn"


class InterpreterKindPool:
    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        return owngil.Pool(*arguments, kind="interpreter", **options)


class InterpreterPoolMixin(PoolMixin):
    """A pool whose workers are interpreters, in one process."""

    executor_type: Any = InterpreterKindPool
    not_applicable: Mapping[str, Sequence[str]] = MappingProxyType(
        {
            "its tasks crash by faulthandler, which interpreters cannot load": (
                "test_crash_big_data",
                "test_crash_during_func_exec_on_worker",
                "test_crash_during_result_pickle_on_worker",
                "test_shutdown_deadlock",
            ),
            "it logs to a queue, whose daemon thread an interpreter may not start": (
                "FailingInitializerMixin.test_initializer",
            ),
        }
    )


class AutoKindPool:
    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        return owngil.Pool(*arguments, kind="auto", **options)


class AutoPoolMixin(PoolMixin):
    """A pool whose workers are interpreters, and processes for what these are refused."""

    executor_type: Any = AutoKindPool
    not_applicable: Mapping[str, Sequence[str]] = MappingProxyType(
        {
            "a result is refused that has run: NeedsProcess; tests/python tests that": (
                "test_crash_during_result_pickle_on_worker",
            ),
            "it logs to a queue, whose daemon thread an interpreter may not start": (
                "FailingInitializerMixin.test_initializer",
            ),
        }
    )


class ThreadKindPool:
    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        return owngil.Pool(*arguments, kind="thread", **options)


class ThreadPoolMixin(util.ThreadPoolMixin):  # type: ignore[misc]
    """The single-GIL baseline."""

    executor_type: Any = ThreadKindPool


def subjects() -> tuple[type, ...]:
    if IS_STANDARD:
        return (util.ProcessPoolForkserverMixin,)
    interpreters = (InterpreterPoolMixin, AutoPoolMixin) if "interpreter" in kinds.HERE else ()
    return (PoolMixin, SpawnPoolMixin, *interpreters, ThreadPoolMixin)


def process_subjects() -> tuple[type, ...]:
    return tuple(mixin for mixin in subjects() if hasattr(mixin, "ctx"))


def template_subjects() -> tuple[type, ...]:
    """For what is about futures and waiting, and the same however a worker was started."""
    return tuple(mixin for mixin in subjects() if getattr(mixin, "ctx", None) != "spawn")


def define_cases(
    module: dict[str, Any],
    mixin: type,
    executors: Iterable[type],
    not_applicable: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    """Put one test case class a subject into the module: pytest makes each upstream case an item.

    `not_applicable`: why cases say nothing about this package's pool -> their names.
    """
    known = unittest.TestLoader().getTestCaseNames(mixin)  # type: ignore[arg-type]
    for executor in executors:
        own = getattr(executor, "not_applicable", {})
        skips: dict[str, Any] = {
            name: unittest.skip(reason)(lambda self: None)
            for reason, names in (*not_applicable.items(), *own.items())
            for where, _, name in (name.rpartition(".") for name in names)
            if name in known and where in ("", mixin.__name__) and not IS_STANDARD
        }
        name = f"{executor.__name__.removesuffix('Mixin')}{mixin.__name__}"
        module[name] = type(
            name, (mixin, executor, util.BaseTestCase), {"__module__": module["__name__"], **skips}
        )

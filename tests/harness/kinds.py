# SPDX-License-Identifier: BSD-3-Clause
"""Which kinds of workers a test is for: all that this Python can run, or those that it names.

A test that takes the fixture `worker_kind`, or `pool`, is run with each. `pytest.mark.kinds(...)`,
on a test or as `pytestmark` of its module, names them:
  process
  interpreter   all of them in one process, as is the default: whoever ends it ends the others, too
  apart         interpreters that have a process each: what one does to it is not the others' harm
  auto          interpreters, and processes for what those are refused
Without a mark: process and interpreter.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

_OPTIONS: dict[str, dict[str, Any]] = {
    "process": {"kind": "process"},
    "interpreter": {"kind": "interpreter"},
    "apart": {"kind": "interpreter", "hosts": 2},
    "auto": {"kind": "auto"},
}
HERE = tuple(_OPTIONS) if sys.version_info >= (3, 13) else ("process",)


def wakes() -> bool:
    """Whether a signal can wake what blocks in one of several interpreters of a process."""
    from owngil._cpython import interpreters  # here, for the rest of this needs no package

    return "interpreter" in HERE and interpreters().wakes


def options(worker_kind: str) -> dict[str, Any]:
    """What to open a pool of two such workers with."""
    return _OPTIONS[worker_kind]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "worker_kind" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("kinds")
    wanted = mark.args if mark else ("process", "interpreter")
    metafunc.parametrize("worker_kind", [kind for kind in HERE if kind in wanted])

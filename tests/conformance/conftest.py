# SPDX-License-Identifier: BSD-3-Clause
"""CPython's own tests keep their own rules.

What they warn of is theirs to judge; what mess they leave, they tell themselves.
"""

from __future__ import annotations

import multiprocessing.util
from collections.abc import Iterator

import pytest
from test import support

import owngil


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(__file__.rpartition("/")[0]):
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(autouse=True, scope="session")
def what_all_pools_share_is_there() -> None:
    """Upstream would take the thread that shows output for one that its first test has left."""
    owngil.Pool(1).shutdown()


@pytest.fixture(autouse=True)
def environment_is_as_before() -> Iterator[None]:
    """Upstream notes threads and children that are still there; here that fails the test."""
    support.environment_altered = False
    yield
    assert not support.environment_altered, "threads or children left: see the captured stderr"


@pytest.fixture(autouse=True, scope="module")
def multiprocessing_is_cleaned_up(nothing_is_left_behind: None) -> Iterator[None]:
    """What upstream's own setup_module has done at a module's end."""
    yield
    multiprocessing.util._cleanup_tests()  # type: ignore[attr-defined]

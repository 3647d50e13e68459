# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the package have at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import owngil
from harness import kinds
from harness.gate import Gate


@pytest.fixture
def pool(worker_kind: str) -> Iterator[owngil.Pool]:
    """A pool of two workers, of each kind in turn."""
    with owngil.Pool(2, **kinds.options(worker_kind)) as pool:
        yield pool


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Holds tasks back until the test opens it, or ends.

    A test that uses `pool` too lists it first: then the gate is opened before the pool closes.
    """
    gate = Gate(tmp_path)
    yield gate
    gate.open()

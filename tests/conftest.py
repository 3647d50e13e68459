# SPDX-License-Identifier: BSD-3-Clause
"""What holds for all tests in Python: no hangs, no leaks (and, by pyproject.toml, no warnings)."""

from __future__ import annotations

import os
import signal

import pytest

from harness import kinds, leaks
from harness.time_limit import TimeLimit


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a script these are ignored, and programs inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    # A worker that must show its Python stack is told so by SIGABRT.
    os.environ.setdefault("PYTHONFAULTHANDLER", "1")
    config.addinivalue_line("markers", "time_limit(seconds): how long a test may take")
    config.addinivalue_line("markers", "kinds(name, …): of workers that a test is for")
    config.pluginmanager.register(kinds, "owngil kinds")
    config.pluginmanager.register(TimeLimit(), "owngil time limit")
    config.pluginmanager.register(leaks, "owngil leak check")

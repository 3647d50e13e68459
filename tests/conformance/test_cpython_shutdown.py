# SPDX-License-Identifier: BSD-3-Clause
"""CPython's tests of shutdown and of the interpreter's exit."""

from __future__ import annotations

import subjects
from test.test_concurrent_futures import test_shutdown

subjects.define_cases(globals(), test_shutdown.ExecutorShutdownTest, subjects.process_subjects())

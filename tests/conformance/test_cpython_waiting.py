# SPDX-License-Identifier: BSD-3-Clause
"""CPython's tests of concurrent.futures.wait and as_completed."""

from __future__ import annotations

import subjects
from test.test_concurrent_futures import test_as_completed, test_wait

subjects.define_cases(globals(), test_wait.WaitTests, subjects.template_subjects())
subjects.define_cases(globals(), test_as_completed.AsCompletedTests, subjects.template_subjects())

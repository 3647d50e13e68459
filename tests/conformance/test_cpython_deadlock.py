# SPDX-License-Identifier: BSD-3-Clause
"""CPython's tests that no error, exit or crash at any stage of a task hangs the pool."""

from __future__ import annotations

import subjects
from test.test_concurrent_futures import test_deadlock

NOT_APPLICABLE = {
    "joins or replaces threads and pipes that only ProcessPoolExecutor has": (
        "test_shutdown_deadlock_pickle",
        "test_gh105829_should_not_deadlock_if_wakeup_pipe_full",
    ),
}

subjects.define_cases(
    globals(), test_deadlock.ExecutorDeadlockTest, subjects.process_subjects(), NOT_APPLICABLE
)

# SPDX-License-Identifier: BSD-3-Clause
"""CPython's tests of what every executor does, and of what only a pool of processes does."""

from __future__ import annotations

import subjects
from test.test_concurrent_futures import executor, test_process_pool

NOT_APPLICABLE = {
    "one dead worker fails only its task here, and does not break the pool": (
        "test_killed_child",
        "test_broken_process_pool_traceback",
    ),
    "looks into the private _processes; tests/python tests Pool.stats() and the end": (
        "test_saturation",
        "test_idle_process_reuse_one",
        "test_idle_process_reuse_multiple",
        "test_max_tasks_per_child",
        "test_force_shutdown_workers",
        "test_force_shutdown_workers_stops_pool",
    ),
    "forked workers may be recycled here, so max_tasks_per_child changes no start method": (
        "test_max_tasks_per_child_defaults_to_spawn_context",
    ),
    "replaces or joins threads that only ProcessPoolExecutor has": (
        "test_python_finalization_error",
        "test_shutdown_no_wait_max_tasks_gh119592",
        "test_gc_during_max_tasks_worker_exit_gh152967",
        "test_force_shutdown_during_max_tasks_worker_exit",
        "test_failed_worker_replacement_breaks_pool",
    ),
    "WorkerDied itself names the exit code, not its cause (3.15)": (
        "test_traceback_when_child_process_terminates_abruptly",
    ),
}

subjects.define_cases(
    globals(), executor.ExecutorTest, [s for s in subjects.subjects() if not hasattr(s, "ctx")]
)
subjects.define_cases(
    globals(),
    test_process_pool.ProcessPoolExecutorTest,
    subjects.process_subjects(),
    NOT_APPLICABLE,
)

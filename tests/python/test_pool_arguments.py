# SPDX-License-Identifier: BSD-3-Clause
"""What Pool() takes, and what it refuses."""

from __future__ import annotations

import concurrent.futures
import math
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tasks

import owngil
from harness import scripts


def test_a_pool_is_an_executor() -> None:
    with owngil.Pool(1) as pool:
        assert isinstance(pool, concurrent.futures.Executor)


def test_the_number_of_workers_can_be_read_as_in_the_standard_pool() -> None:
    with owngil.Pool(3) as pool:
        assert pool._max_workers == 3


def test_by_default_there_is_one_worker_for_each_cpu_that_may_be_used() -> None:
    source = """
        import os, owngil
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(owngil.Pool()._max_workers)
    """
    assert scripts.run_code(source).lines == ["1"]
    with owngil.Pool() as pool:
        assert 1 <= pool._max_workers <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_worker_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        owngil.Pool(count)


@pytest.mark.parametrize("count", ["2", 2.0, [2]])
def test_a_number_of_workers_that_is_no_int_is_refused(count: Any) -> None:
    with pytest.raises(TypeError, match="max_workers"):
        owngil.Pool(count)


def test_an_unknown_kind_is_refused_naming_the_allowed_ones() -> None:
    with pytest.raises(ValueError, match=r"kind.*process.*thread"):
        owngil.Pool(1, kind="fiber")


def test_an_unknown_start_is_refused_naming_the_allowed_ones() -> None:
    with pytest.raises(ValueError, match=r"start.*template.*spawn"):
        owngil.Pool(1, start="magic")


@pytest.mark.parametrize("name", ["kind", "start"])
def test_a_kind_or_start_that_is_no_string_is_refused(name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        owngil.Pool(1, **{name: 3})  # type: ignore[arg-type]


def test_an_initializer_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        owngil.Pool(1, initializer=3)  # type: ignore[arg-type]


def test_a_count_of_tasks_per_child_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tasks_per_child"):
        owngil.Pool(1, max_tasks_per_child=0)


def test_a_count_of_tasks_per_child_that_is_no_int_is_refused() -> None:
    with pytest.raises(TypeError, match="max_tasks_per_child"):
        owngil.Pool(1, max_tasks_per_child="3")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_memory_per_child", "idle_timeout", "restart_window"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_of_a_workers_life_below_the_least_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be greater than 0"):
        owngil.Pool(1, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("max_memory_per_child", "1G", "an integer or None"),
        ("max_memory_per_child", 1e9, "an integer or None"),
        ("idle_timeout", "60", "a number of seconds or None"),
        ("idle_timeout", True, "a number of seconds or None"),
        ("restart_window", None, "a number of seconds"),
        ("restart_window", "5", "a number of seconds"),
        ("max_restarts", 2.5, 'an integer, "auto" or None'),
        ("max_restarts", "many", 'an integer, "auto" or None'),
        ("max_restarts", False, 'an integer, "auto" or None'),
    ],
)
def test_a_limit_of_a_workers_life_of_another_type_is_refused(
    name: str, value: Any, kind: str
) -> None:
    with pytest.raises(TypeError, match=f"{name} must be {kind}, not"):
        owngil.Pool(1, **{name: value})
    with pytest.raises(TypeError, match=f"{name} must be {kind}, not"):
        owngil.Pool(1, kind="thread", **{name: value})


def test_not_a_number_is_no_time() -> None:
    with pytest.raises(ValueError, match="idle_timeout must be greater than 0"):
        owngil.Pool(1, idle_timeout=math.nan)


def test_less_than_no_restarts_are_refused() -> None:
    with pytest.raises(ValueError, match="max_restarts must not be less than 0"):
        owngil.Pool(1, max_restarts=-1)


def test_limits_without_end_are_taken() -> None:
    with owngil.Pool(
        1,
        max_memory_per_child=1 << 100,
        idle_timeout=math.inf,
        max_restarts=1 << 100,
        restart_window=math.inf,
    ) as pool:
        assert pool.submit(tasks.echo, 1).result() == 1


@pytest.mark.parametrize("kind", ["process", "thread"])
@pytest.mark.parametrize("given", [None, 1, "yes"])
def test_a_forward_output_that_is_no_bool_is_refused(kind: str, given: Any) -> None:
    with pytest.raises(TypeError, match="forward_output must be True or False"):
        owngil.Pool(1, kind=kind, forward_output=given)


def test_an_argument_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="workers"):
        owngil.Pool(workers=3)  # type: ignore[call-arg]


def test_what_the_standard_pool_does_not_take_is_keyword_only() -> None:
    with pytest.raises(TypeError):
        owngil.Pool(1, None, None, (), None)  # type: ignore[misc]


def test_the_standard_pools_arguments_come_in_its_order() -> None:
    context = multiprocessing.get_context("forkserver")
    with owngil.Pool(1, context, _remember, ("here",)) as pool:
        assert pool.submit(_recall).result() == "here"


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_every_multiprocessing_context_is_taken(method: str) -> None:
    with owngil.Pool(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert pool.submit(tasks.add, 1, 2).result() == 3


def test_with_the_spawn_context_a_worker_is_not_forked_from_a_template() -> None:
    """A forked worker has what the template imported; a spawned one was started for this pool."""
    context = multiprocessing.get_context("spawn")
    with owngil.Pool(1, preload=["colorsys"]) as forked:
        assert forked.submit(tasks.is_imported, "colorsys").result()
        with owngil.Pool(1, mp_context=context) as spawned:
            assert not spawned.submit(tasks.is_imported, "colorsys").result()


def test_preloaded_modules_are_there_before_the_first_task() -> None:
    with owngil.Pool(1, preload=("colorsys", "wave")) as pool:
        assert pool.submit(tasks.is_imported, "colorsys").result()
        assert pool.submit(tasks.is_imported, "wave").result()


def test_a_preload_that_leaves_a_thread_behind_is_named_and_its_workers_are_spawned(
    tmp_path: Path,
) -> None:
    """A process with threads must not be forked."""
    (tmp_path / "leaves_a_thread.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
    )
    source = """
        import sys, owngil
        sys.path.insert(0, sys.argv[1])
        with owngil.Pool(1, preload=["leaves_a_thread"]) as pool:
            print(pool.submit(pow, 2, 3).result())
    """
    done = scripts.run_code(source, str(tmp_path), quiet=False)
    assert done.lines == ["8"]
    assert "leaves_a_thread" in done.err
    assert "Traceback" not in done.err


def test_a_preload_that_cannot_be_imported_is_named_and_stops_nobody_else() -> None:
    source = """
        import owngil
        try:
            with owngil.Pool(1, preload=["no_such_module"]) as pool:
                print(pool.submit(pow, 2, 3).result())
        except Exception as error: print(type(error).__name__, error)
        with owngil.Pool(1) as pool: print(pool.submit(pow, 2, 3).result())
    """
    done = scripts.run_code(source, quiet=False)
    assert "no_such_module" in done.out + done.err
    assert done.lines[-1] == "8"


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize(
    "make",
    [
        lambda context: context.Lock(),
        lambda context: context.Semaphore(1),
        lambda context: context.Event(),
        lambda context: context.Queue(),
        lambda context: context.Value("i", 5),
    ],
    ids=["Lock", "Semaphore", "Event", "Queue", "Value"],
)
def test_multiprocessing_objects_travel_in_initargs(
    method: str, make: Callable[[Any], Any]
) -> None:
    context = multiprocessing.get_context(method)
    shared = make(context)
    with owngil.Pool(1, context, initializer=_remember, initargs=(shared,)) as pool:
        assert pool.submit(_type_of_remembered).result() == type(shared).__name__


def test_a_multiprocessing_queue_carries_values_from_the_workers() -> None:
    context = multiprocessing.get_context("forkserver")
    queue = context.Queue()
    with owngil.Pool(2, context, initializer=_remember, initargs=(queue,)) as pool:
        pool.submit(_put_in_remembered, "hello").result()
        assert queue.get() == "hello"
    queue.close()
    queue.join_thread()


def test_a_multiprocessing_lock_is_one_lock_for_all_workers() -> None:
    context = multiprocessing.get_context("forkserver")
    counter = context.Value("i", 0)
    with owngil.Pool(2, context, initializer=_remember, initargs=(counter,)) as pool:
        list(pool.map(_count_up, [50] * 4, chunksize=1))
    assert counter.value == 200


def test_a_multiprocessing_lock_of_the_fork_context_is_refused_clearly() -> None:
    """Such a lock has no name, so that only children of this very process can have it."""
    lock = multiprocessing.get_context("fork").Lock()
    with pytest.raises(RuntimeError, match="context"):
        owngil.Pool(1, initializer=_remember, initargs=(lock,))


def test_a_multiprocessing_lock_as_an_argument_is_refused_as_by_the_standard_pool() -> None:
    lock = multiprocessing.get_context("fork").Lock()
    with owngil.Pool(1) as pool:
        with pytest.raises(RuntimeError, match="inheritance"):
            pool.submit(tasks.echo, lock).result()
        assert pool.submit(tasks.echo, 1).result() == 1


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"])
def test_numeric_libraries_get_the_given_number_of_threads(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    with owngil.Pool(1, threads_per_worker=3) as pool:
        assert pool.submit(tasks.environment, variable).result() == "3"


def test_by_default_the_workers_share_the_cpus_among_their_numeric_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with owngil.Pool(64) as pool:
        assert pool.submit(tasks.environment, "OMP_NUM_THREADS").result() == str(
            max(1, owngil.Pool()._max_workers // 64)
        )


def test_pools_have_names() -> None:
    with owngil.Pool(1, name="kitchen") as named, owngil.Pool(1) as unnamed:
        assert "kitchen" in repr(named)
        assert named.submit(_pool_name).result() == "kitchen"
        assert unnamed.submit(_pool_name).result()


_remembered: Any = None


def _remember(value: Any) -> None:
    global _remembered
    _remembered = value


def _recall() -> Any:
    return _remembered


def _type_of_remembered() -> str:
    return type(_remembered).__name__


def _put_in_remembered(value: Any) -> None:
    _remembered.put(value)


def _count_up(times: int) -> None:
    for _ in range(times):
        with _remembered.get_lock():
            _remembered.value += 1


def _pool_name() -> str:
    worker = owngil.worker()
    assert worker is not None
    return worker.pool


def test_hosts_are_for_interpreters_alone() -> None:
    with pytest.raises(ValueError, match='hosts is for kind="interpreter"'):
        owngil.Pool(2, hosts=1)


def test_a_python_that_has_no_safe_interpreters_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "hexversion", 0x030C_0100)
    with pytest.raises(RuntimeError, match=r"needs CPython 3\.13 or later.*initializes extension"):
        owngil.Pool(2, kind="interpreter")


def test_a_python_without_a_gil_says_what_runs_in_parallel_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(RuntimeError, match=r'no GIL.*kind="thread"'):
        owngil.Pool(2, kind="interpreter")

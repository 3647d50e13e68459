# SPDX-License-Identifier: BSD-3-Clause
"""Pool(kind="auto"): interpreters, and processes for what those are refused.

`readline` stands for whatever refuses to be loaded in an interpreter with a GIL of its own.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from auto_tasks import (
    calls_one_that_needs_readline,
    count_at_work,
    count_at_work_with_readline,
    dates,
    decimals,
    digest,
    does_without_readline,
    fork_and_wait,
    hold_here,
    hold_with_readline,
    imports_by_name,
    imports_by_name_and_swallows,
    kind_here,
    kind_or_import,
    libc_length,
    needs_readline,
    note,
    numpy_product,
    pandas_sums,
    table,
    tree,
)

import owngil
from harness.gate import Gate
from owngil import _cpython

pytest.importorskip("readline")
pytestmark = pytest.mark.skipif(sys.version_info < (3, 13), reason="needs CPython 3.13 or later")


@pytest.fixture
def pool() -> Iterator[owngil.Pool]:
    with owngil.Pool(2, kind="auto") as made:
        yield made


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Any]]:
    """Writes a module and imports it here."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def make(name: str, text: str) -> Any:
        (tmp_path / f"{name}.py").write_text(text)
        made.append(name)
        return importlib.import_module(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


# --- where a call runs


def test_what_an_interpreter_can_run_runs_there_and_no_process_is_started(
    pool: owngil.Pool,
) -> None:
    assert {pool.submit(kind_here).result() for _ in range(20)} == {"interpreter"}
    assert [worker.kind for worker in pool.stats().workers] == ["interpreter"] * 2


def test_a_function_that_imports_what_an_interpreter_is_refused_runs_in_a_process(
    pool: owngil.Pool,
) -> None:
    assert pool.submit(needs_readline).result() == "process"


def test_a_refusal_that_the_code_would_swallow_counts_as_well(pool: owngil.Pool) -> None:
    assert pool.submit(does_without_readline).result() == (True, "process")


def test_what_functions_beside_it_import_counts_as_well(pool: owngil.Pool) -> None:
    assert pool.submit(calls_one_that_needs_readline).result() == "process"


def test_a_wrapped_function_is_looked_through(pool: owngil.Pool) -> None:
    assert pool.submit(functools.partial(needs_readline)).result() == "process"
    assert pool.submit(functools.lru_cache(does_without_readline)).result() == (True, "process")


def test_other_functions_stay_where_they_are(pool: owngil.Pool) -> None:
    assert pool.submit(needs_readline).result() == "process"
    assert pool.submit(kind_here).result() == "interpreter"
    assert pool.submit(needs_readline).result() == "process"


def test_a_module_that_gets_over_the_refusal_is_noticed_each_time(
    pool: owngil.Pool, modules: Callable[[str, str], Any]
) -> None:
    module = modules(
        "lacking",
        "try:\n    import readline\nexcept ImportError:\n    readline = None\n"
        "def first(): return readline is not None\n"
        "def second(): return readline is not None\n",
    )
    other = modules("on_lacking", "import lacking\ndef third(): return lacking.first()\n")
    for function in (module.first, module.second, other.third):
        assert pool.submit(function).result() is True


def test_arguments_that_need_a_process_take_the_call_there(
    pool: owngil.Pool, modules: Callable[[str, str], Any]
) -> None:
    module = modules("with_readline", "import readline\nclass Thing: pass\n")
    assert pool.submit(kind_here).result() == "interpreter"
    assert pool.submit(lambda thing: kind_here(), module.Thing()).result() == "process"


def test_a_function_that_captures_something_else_now_runs_where_it_did(pool: owngil.Pool) -> None:
    captured = [0]

    def count() -> tuple[int, str]:
        import readline  # noqa: F401

        return captured[0], kind_here()

    for value in range(5):
        captured[0] = value
        assert pool.submit(count).result() == (value, "process")
    interpreters = [worker for worker in pool.stats().workers if worker.kind == "interpreter"]
    assert sum(worker.tasks_done for worker in interpreters) == 0


def test_an_initializer_that_is_refused_takes_everything_to_processes() -> None:
    with owngil.Pool(2, kind="auto", initializer=needs_readline) as pool:
        assert pool.submit(kind_here).result() == "process"
        assert "readline" in pool.explain(kind_here)


def test_an_initializer_runs_in_workers_of_both_kinds(tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    with owngil.Pool(1, kind="auto", initializer=note, initargs=(path,)) as pool:
        assert pool.submit(kind_here).result() == "interpreter"
        assert pool.submit(needs_readline).result() == "process"
    assert Path(path).read_text() == "xx"


# --- what turns out when it has begun


def test_a_call_that_is_refused_something_when_it_has_begun_fails_and_does_not_run_twice(
    pool: owngil.Pool, tmp_path: Path
) -> None:
    path = str(tmp_path / "notes")
    error = pool.submit(imports_by_name, path).exception()
    assert type(error) is owngil.NeedsProcess
    assert error.what == "module readline"
    assert "retries=1" in str(error)
    assert isinstance(error.__cause__, Exception)
    assert Path(path).read_text() == "x"
    assert pool.submit(imports_by_name, path).result() == "process"


def test_so_does_one_that_swallows_the_refusal(pool: owngil.Pool, tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    with pytest.raises(owngil.NeedsProcess):
        pool.submit(imports_by_name_and_swallows, path).result()
    assert pool.submit(imports_by_name_and_swallows, path).result() == "process"


def test_with_retries_it_runs_again_in_a_process(pool: owngil.Pool, tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    assert pool.options(retries=1).submit(imports_by_name, path).result() == "process"
    assert Path(path).read_text() == "xx"


def test_what_cpython_refuses_besides_modules_needs_a_process_too(pool: owngil.Pool) -> None:
    error = pool.submit(fork_and_wait).exception()
    assert type(error) is owngil.NeedsProcess
    assert pool.submit(fork_and_wait).result() == "process"
    assert "fork" in pool.explain(fork_and_wait)


def test_an_import_error_of_another_kind_is_the_tasks_own(
    pool: owngil.Pool, tmp_path: Path
) -> None:
    path = str(tmp_path / "notes")
    with pytest.raises(ModuleNotFoundError):
        pool.submit(imports_by_name, path, "no_such_module").result()
    assert pool.submit(imports_by_name, path, "json").result() == "interpreter"


def test_a_map_fails_the_one_item_and_runs_those_behind_it(pool: owngil.Pool) -> None:
    results = pool.map(kind_or_import, range(6), chunksize=6)
    assert [next(results) for _ in range(3)] == [(i, "interpreter") for i in range(3)]
    with pytest.raises(owngil.NeedsProcess):
        next(results)
    assert list(results) == [(4, "process"), (5, "process")]


def test_a_map_with_retries_loses_no_item(pool: owngil.Pool) -> None:
    results = list(pool.options(retries=1).map(kind_or_import, range(6), chunksize=6))
    assert [item for item, _ in results] == list(range(6))
    assert results[3] == (3, "process")


def test_a_map_of_what_needs_a_process_runs_there(pool: owngil.Pool) -> None:
    def double(item: int) -> tuple[int, str]:
        import readline  # noqa: F401

        return 2 * item, kind_here()

    assert list(pool.map(double, range(1000))) == [(2 * item, "process") for item in range(1000)]


# --- how many run at once, and what dies


def test_no_more_tasks_run_at_once_than_the_pool_has_workers(
    pool: owngil.Pool, tmp_path: Path
) -> None:
    mixed = (count_at_work, count_at_work_with_readline)
    futures = [pool.submit(mixed[number % 2], str(tmp_path)) for number in range(200)]
    assert max(future.result() for future in futures) <= 2


def test_tasks_of_both_kinds_run_at_the_same_time(gate: Gate, pool: owngil.Pool) -> None:
    futures = [pool.submit(hold_here, gate), pool.submit(hold_with_readline, gate)]
    gate.wait_for_entered(2)
    assert pool.stats().running == 2
    gate.open()
    assert [future.result() for future in futures] == ["interpreter", "process"]


def test_the_death_of_a_process_does_not_touch_the_interpreters(
    gate: Gate, pool: owngil.Pool
) -> None:
    def die() -> None:
        import readline  # noqa: F401

        os._exit(3)

    held = pool.submit(hold_here, gate)
    gate.wait_for_entered()
    assert isinstance(pool.submit(die).exception(), owngil.WorkerDied)
    assert pool.submit(needs_readline).result() == "process"
    gate.open()
    assert held.result() == "interpreter"


def test_the_death_of_the_interpreters_does_not_touch_a_process(
    gate: Gate, pool: owngil.Pool
) -> None:
    held = pool.submit(hold_with_readline, gate)
    gate.wait_for_entered()
    assert isinstance(pool.submit(os._exit, 3).exception(), owngil.WorkerDied)
    assert pool.submit(kind_here).result() == "interpreter"
    gate.open()
    assert held.result() == "process"


def test_what_was_refused_is_cancelled_with_all_that_waits(gate: Gate) -> None:
    pool = owngil.Pool(1, kind="auto")
    held = pool.submit(hold_with_readline, gate)
    gate.wait_for_entered()
    waiting = [pool.submit(needs_readline) for _ in range(20)]
    pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert held.result() == "process"
    pool.shutdown()
    assert sum(future.cancelled() for future in waiting) >= 19


def test_it_can_be_resized_with_workers_of_both_kinds(pool: owngil.Pool) -> None:
    assert pool.submit(needs_readline).result() == "process"
    for workers in (4, 1, 3):
        pool.resize(workers)
        functions = (kind_here, needs_readline) * 20
        found = [future.result() for future in [pool.submit(one) for one in functions]]
        assert found == ["interpreter", "process"] * 20


# --- explain


def test_explain_says_what_is_not_known_yet(pool: owngil.Pool) -> None:
    assert "has not been called yet" in pool.explain(kind_here)


def test_explain_says_that_nothing_was_refused(pool: owngil.Pool) -> None:
    pool.submit(kind_here).result()
    assert pool.explain(kind_here).endswith(
        "kind_here runs in an interpreter: nothing that it needs has been refused there."
    )


def test_explain_names_the_module_that_was_refused(pool: owngil.Pool) -> None:
    pool.submit(needs_readline).result()
    assert "runs in a process: module readline, which it needs" in pool.explain(needs_readline)


def test_explain_knows_what_a_map_has_found_out(pool: owngil.Pool) -> None:
    list(pool.options(retries=1).map(kind_or_import, range(6), chunksize=6))
    assert "module readline" in pool.explain(kind_or_import)


@pytest.mark.parametrize("kind", ["process", "interpreter", "thread"])
def test_explain_says_of_other_pools_what_they_are(kind: str) -> None:
    with owngil.Pool(1, kind=kind) as pool:
        assert f"kind={kind!r}" in pool.explain(kind_here)


def test_explain_takes_only_what_can_be_called(pool: owngil.Pool) -> None:
    with pytest.raises(TypeError, match="callable"):
        pool.explain(3)  # type: ignore[arg-type]


def test_a_python_without_such_interpreters_runs_everything_in_processes_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none() -> _cpython.Interpreters:
        raise RuntimeError("this Python has none.")

    monkeypatch.setattr(_cpython, "interpreters", none)
    with owngil.Pool(1, kind="auto") as pool:
        assert pool.submit(kind_here).result() == "process"
        assert pool.explain(kind_here).endswith("runs in a process: this Python has none.")
        assert [worker.kind for worker in pool.stats().workers] == ["process"]


# --- the same results everywhere


CALLS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (pow, (3, 200)),
    (math.factorial, (60,)),
    (sorted, ([3, 1, 2],)),
    (Fraction, (3, 9)),
    (zlib.crc32, (b"abc" * 1000,)),
    (zlib.compress, (b"abc" * 1000,)),
    (str.upper, ("straße",)),
    (re.sub, (r"(\w+) (\w+)", r"\2 \1", "hello world")),
    (dates, (2024,)),
    (decimals, (40,)),
    (table, (20,)),
    (digest, (b"abc",)),
    (tree, ("<a><b/><c><d/></c></a>",)),
    (libc_length, (b"hello",)),
]


def is_here(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


OF_OTHERS = {"numpy": (numpy_product, (6,)), "pandas": (pandas_sums, (30,))}
HERE = {name: call for name, call in OF_OTHERS.items() if is_here(name)}  # they start threads


def test_calls_have_the_same_results_whatever_runs_them() -> None:
    calls = [*CALLS, *HERE.values()]
    expected = [function(*arguments) for function, arguments in calls]
    for kind in ("auto", "process", "thread"):
        with owngil.Pool(2, kind=kind) as pool:
            futures = [pool.submit(function, *arguments) for function, arguments in calls]
            assert [future.result() for future in futures] == expected, kind
    with owngil.Pool(2, kind="interpreter") as pool:
        futures = [pool.submit(function, *arguments) for function, arguments in CALLS]
        assert [future.result() for future in futures] == expected[: len(CALLS)]

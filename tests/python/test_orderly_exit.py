# SPDX-License-Identifier: BSD-3-Clause
"""A worker that is told to stop leaves in order: atexit functions, flushed files, coverage."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import tasks

import owngil
from harness import scripts

STARTS = pytest.mark.parametrize("start", ["template", "spawn"])


@STARTS
def test_atexit_functions_of_a_worker_run(start: str, tmp_path: Path) -> None:
    with owngil.Pool(1, start=start) as pool:
        pool.submit(_register, tmp_path / "note").result()
        assert not (tmp_path / "note").exists()
    assert (tmp_path / "note").read_text() == "bye"


def test_they_run_too_when_a_worker_is_recycled(tmp_path: Path) -> None:
    with owngil.Pool(1, max_tasks_per_child=1) as pool:
        pool.submit(_register, tmp_path / "note").result()
        pool.submit(tasks.echo, 1).result()
    assert (tmp_path / "note").read_text() == "bye"


def test_they_run_too_when_the_program_ends_without_shutdown(tmp_path: Path) -> None:
    scripts.run_code(
        """
        import atexit, sys, owngil
        def register(path):
            atexit.register(lambda: open(path, "w").write("bye"))
        pool = owngil.Pool(1)
        pool.submit(register, sys.argv[1]).result()
        """,
        str(tmp_path / "note"),
    )
    assert (tmp_path / "note").read_text() == "bye"


def test_files_that_a_task_left_open_are_flushed(tmp_path: Path) -> None:
    with owngil.Pool(1) as pool:
        pool.submit(_write_unflushed, tmp_path / "note").result()
    assert (tmp_path / "note").read_text() == "not flushed"


def test_the_users_own_atexit_functions_run_only_in_the_users_process() -> None:
    assert scripts.run_code("""
        import atexit, owngil
        atexit.register(print, "bye")
        with owngil.Pool(2) as pool:
            list(pool.map(abs, range(4), chunksize=1))
    """).lines == ["bye"]


def test_an_atexit_function_that_raises_does_not_hold_up_shutdown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with owngil.Pool(1) as pool:
        pool.submit(_register_bad).result()
    capfd.readouterr()


def test_threads_that_a_task_left_running_are_waited_for_as_in_any_program(
    tmp_path: Path,
) -> None:
    with owngil.Pool(1) as pool:
        pool.submit(_leave_thread, tmp_path / "note").result()
    assert (tmp_path / "note").read_text() == "by a thread"


@pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="coverage not installed")
@STARTS
def test_coverage_is_measured_in_workers(start: str, tmp_path: Path) -> None:
    """As its documentation says for processes: a .pth file calls coverage.process_startup()."""
    (tmp_path / "covered.py").write_text("def f(x):\n    y = x + 1\n    return y\n")
    (tmp_path / "setup.cfg").write_text("[coverage:run]\nparallel = true\nsource = .\n")
    (tmp_path / "sitecustomize.py").write_text("import coverage\ncoverage.process_startup()\n")
    source = f"""
        import owngil, covered
        with owngil.Pool(1, start={start!r}) as pool:
            print(pool.submit(covered.f, 1).result())
    """
    environment = {
        "COVERAGE_PROCESS_START": str(tmp_path / "setup.cfg"),
        "PYTHONPATH": str(tmp_path),
    }
    done = scripts.run(
        [sys.executable, "-c", scripts.dedent(source)], cwd=tmp_path, env=environment
    )
    assert done.lines == ["2"]
    combine = [sys.executable, "-m", "coverage"]
    plain = {"PYTHONPATH": None, "COVERAGE_PROCESS_START": None}
    scripts.run([*combine, "combine", "-q"], cwd=tmp_path, env=plain)
    report = scripts.run([*combine, "report", "-m"], cwd=tmp_path, env=plain).out
    assert "covered.py" in report
    assert "100%" in next(line for line in report.splitlines() if "covered.py" in line)


def _register(path: Path) -> None:
    import atexit

    atexit.register(path.write_text, "bye")


def _register_bad() -> None:
    import atexit

    atexit.register(tasks.fail, ValueError, "at exit")


_left_open: list[object] = []


def _write_unflushed(path: Path) -> None:
    file = path.open("w")
    file.write("not flushed")
    _left_open.append(file)


def _leave_thread(path: Path) -> None:
    import threading

    main = threading.main_thread()

    def write() -> None:
        main.join()
        path.write_text("by a thread")

    threading.Thread(target=write).start()

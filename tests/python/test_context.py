# SPDX-License-Identifier: BSD-3-Clause
"""A worker's surroundings become those of the user's process, and only what differs is touched."""

from __future__ import annotations

import marshal
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lone_worker import LoneWorker, run_program

from owngil import _context


@pytest.fixture
def worker() -> Iterator[LoneWorker]:
    with LoneWorker() as worker:
        yield worker


@pytest.fixture(autouse=True)
def unchanged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test changes in this process is undone."""
    cwd, path, argv, environment = os.getcwd(), sys.path[:], sys.argv, dict(os.environ)
    monkeypatch.setattr(_context, "_limits", None)
    with warnings.catch_warnings():
        yield
    os.chdir(cwd)
    sys.path[:], sys.argv = path, argv
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def surroundings() -> dict[str, Any]:
    return {
        "cwd": os.getcwd(),
        "path": sys.path[:],
        "argv": sys.argv,
        "environment": dict(os.environ),
    }


def filters() -> list[tuple[Any, ...]]:
    return list(warnings.filters)


def set_variable(name: str, value: str) -> None:
    os.environ[name] = value


def get_variable(name: str) -> str | None:
    return os.environ.get(name)


def warn(category: type[Warning], text: str) -> bool:
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn(text, category, stacklevel=1)
    return bool(caught)


def test_cwd_path_argv_and_environment_become_the_users(worker: LoneWorker, tmp_path: Path) -> None:
    os.chdir(tmp_path)
    sys.path.insert(0, "")
    sys.path.insert(1, "/nowhere")
    sys.argv = ["program", "-x"]
    os.environ["NEW"] = "a\udce9b"
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    worker.apply_context()
    got = worker.submit(surroundings)
    assert got["cwd"] == str(tmp_path)
    assert got["path"] == [str(tmp_path), "/nowhere", *sys.path[2:]]
    assert got["argv"] == ["program", "-x"]
    assert got["environment"] == dict(os.environ)
    del os.environ["NEW"]
    sys.path[:2] = []
    worker.apply_context()
    got = worker.submit(surroundings)
    assert got["environment"] == dict(os.environ)
    assert got["path"] == sys.path


def test_a_module_that_the_user_has_just_made_can_be_imported(
    worker: LoneWorker, tmp_path: Path
) -> None:
    sys.path.insert(0, str(tmp_path))
    worker.apply_context()
    with pytest.raises(ModuleNotFoundError):
        worker.submit(__import__, "made_just_now")
    (tmp_path / "made_just_now.py").write_text("def f(): return 1\n")
    import made_just_now  # type: ignore[import-not-found]

    try:
        assert worker.submit(made_just_now.f) == 1
    finally:
        del sys.modules["made_just_now"]


def test_warnings_filters_become_the_users(worker: LoneWorker) -> None:
    warnings.resetwarnings()
    warnings.filterwarnings("error", "a word.*", UserWarning, r"some\.module", 3)
    warnings.simplefilter("ignore", FutureWarning)
    warnings.filters.append(("default", None, DeprecationWarning, "__main__", 0))  # type: ignore[attr-defined]
    worker.apply_context()
    assert worker.submit(filters) == list(warnings.filters)
    assert not worker.submit(warn, FutureWarning, "x")
    assert worker.submit(warn, UserWarning, "x")
    warnings.simplefilter("always")
    worker.apply_context()
    assert worker.submit(warn, FutureWarning, "x")


def test_a_filter_waits_until_its_category_has_been_imported(tmp_path: Path) -> None:
    (tmp_path / "own_warnings.py").write_text(
        "class Own(UserWarning): pass\n"
        "def warn():\n"
        "    import warnings\n"
        "    with warnings.catch_warnings(record=True) as caught: warnings.warn('x', Own)\n"
        "    return len(caught)\n"
    )
    program = """
        import warnings, own_warnings
        def is_imported(): return "own_warnings" in sys.modules
        with LoneWorker() as w:
            warnings.resetwarnings()
            warnings.filterwarnings("ignore", category=own_warnings.Own)
            w.apply_context()
            print(w.submit(is_imported), w.submit(own_warnings.warn))
    """
    assert run_program(program, tmp_path) == ["False 0"]


def test_the_limits_of_threads_that_a_worker_was_given_stay(worker: LoneWorker) -> None:
    os.environ.pop("OMP_NUM_THREADS", None)
    worker.submit(set_variable, "OMP_NUM_THREADS", "1")
    worker.apply_context()
    assert worker.submit(get_variable, "OMP_NUM_THREADS") == "1"
    os.environ["OMP_NUM_THREADS"] = "3"
    worker.apply_context()
    assert worker.submit(get_variable, "OMP_NUM_THREADS") == "3"
    del os.environ["OMP_NUM_THREADS"]
    worker.apply_context()
    assert worker.submit(get_variable, "OMP_NUM_THREADS") is None


def test_what_is_the_same_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = _context.capture()
    path, argv, entries = sys.path, sys.argv, list(sys.path)
    with monkeypatch.context() as patched:
        for name in ("chdir", "putenv", "unsetenv"):
            patched.setattr(os, name, None)
        patched.setattr(warnings, "resetwarnings", None)
        _context.apply(blob)
    assert sys.path is path
    assert sys.path == entries
    assert sys.argv is argv


def test_a_working_directory_that_is_gone_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    blob = _context.capture()
    assert marshal.loads(blob)[0] is None
    os.chdir(tmp_path)
    _context.apply(blob)
    assert os.getcwd() == str(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda: os.environ.update(NEW="1"),
        lambda: sys.path.append("/nowhere"),
        lambda: sys.argv.append("x"),
        lambda: setattr(sys, "argv", ["y"]),
        lambda: warnings.simplefilter("ignore", BytesWarning),
    ],
)
def test_what_has_to_be_watched_shows_every_change(change: Callable[[], None]) -> None:
    def look() -> list[Any]:
        things = _context.watched()
        return [thing.copy() if isinstance(thing, dict | list) else thing for thing in things]

    before = look()
    assert look() == before
    change()
    assert look() != before


def test_the_authentication_key_travels_once_managers_are_in_use(tmp_path: Path) -> None:
    program = """
        import multiprocessing
        def add(shared): shared.append(1)
        def show(): return sys.modules.get("multiprocessing.process") is None
        if True:
            with LoneWorker() as w:
                w.apply_context()
                print(w.submit(show))
                with multiprocessing.get_context("fork").Manager() as manager:
                    shared = manager.list()
                    w.apply_context()
                    w.submit(add, shared)
                    print(list(shared))
    """
    assert run_program(program, tmp_path) == ["True", "[1]"]

# SPDX-License-Identifier: BSD-3-Clause
"""A worker's surroundings are those of the user's process, changes after the start included."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import tasks

import owngil
from harness import scripts


def test_modules_are_found_where_the_user_finds_them(
    pool: owngil.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool.submit(tasks.echo, 1).result() == 1
    (tmp_path / "appeared_late.py").write_text("def f(x): return x + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import appeared_late  # type: ignore[import-not-found]

    assert pool.submit(appeared_late.f, 1).result() == 2
    del sys.modules["appeared_late"]


def test_sys_path_is_the_users(pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool.submit(_sys_path).result() == sys.path
    monkeypatch.setattr(sys, "path", [*sys.path, "/somewhere/else"])
    assert pool.submit(_sys_path).result() == sys.path
    sys.path.remove("/somewhere/else")
    assert pool.submit(_sys_path).result() == sys.path


def test_the_working_directory_is_the_users(
    pool: owngil.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pool.submit(os.getcwd).result() == os.getcwd()
    monkeypatch.chdir(tmp_path)
    assert pool.submit(os.getcwd).result() == str(tmp_path)
    assert list(pool.map(_cwd, range(20))) == [str(tmp_path)] * 20


def test_a_task_sees_the_working_directory_as_it_was_at_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with owngil.Pool(1) as pool:
        futures = []
        for name in ("a", "b", "a", "c"):
            (tmp_path / name).mkdir(exist_ok=True)
            monkeypatch.chdir(tmp_path / name)
            futures.append(pool.submit(os.getcwd))
        assert [Path(future.result()).name for future in futures] == ["a", "b", "a", "c"]


def test_a_working_directory_that_is_gone_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with owngil.Pool(1) as pool:
        assert pool.submit(tasks.echo, 1).result() == 1


def test_argv_is_the_users(pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool.submit(_argv).result() == sys.argv
    monkeypatch.setattr(sys, "argv", ["program", "--flag", "\udcff"])
    assert pool.submit(_argv).result() == ["program", "--flag", "\udcff"]


def test_environment_variables_are_the_users(
    pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWNGIL_TEST_WORD", "one")
    assert pool.submit(tasks.environment, "OWNGIL_TEST_WORD").result() == "one"
    monkeypatch.setenv("OWNGIL_TEST_WORD", "two")
    assert pool.submit(tasks.environment, "OWNGIL_TEST_WORD").result() == "two"
    monkeypatch.delenv("OWNGIL_TEST_WORD")
    assert pool.submit(tasks.environment, "OWNGIL_TEST_WORD").result() is None


def test_a_variable_that_is_no_text_is_passed_as_it_is(
    pool: owngil.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWNGIL_TEST_WORD", "a\udcffb = \n")
    assert pool.submit(tasks.environment, "OWNGIL_TEST_WORD").result() == "a\udcffb = \n"


def test_warning_filters_are_the_users(pool: owngil.Pool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        with pytest.raises(FutureWarning, match="careful"):
            pool.submit(_warn).result()
        warnings.simplefilter("ignore", FutureWarning)
        assert pool.submit(_warn).result() == "warned"


def test_stdin_is_dev_null(pool: owngil.Pool) -> None:
    assert pool.submit(_read_stdin).result() == ("", "/dev/null")


def test_what_a_worker_prints_comes_out_where_the_users_output_does() -> None:
    source = """
        import sys, owngil
        def speak():
            print("to stdout", flush=True)
            print("to stderr", file=sys.stderr)
        with owngil.Pool(1) as pool:
            pool.submit(speak).result()
    """
    done = scripts.run_code(source, quiet=False)
    assert done.lines == ["to stdout"]
    assert done.err.splitlines() == ["to stderr"]


def test_what_a_worker_printed_is_there_after_shutdown_without_flushing() -> None:
    source = """
        import owngil
        def speak(): print("unflushed")
        with owngil.Pool(1) as pool:
            pool.submit(speak).result()
    """
    assert scripts.run_code(source).lines == ["unflushed"]


@pytest.mark.parametrize(
    "flags",
    [
        ["-O"],
        ["-OO"],
        ["-B"],
        ["-s"],
        ["-E"],
        ["-b"],
        ["-X", "dev"],
        ["-X", "utf8=1"],
        ["-W", "error::FutureWarning"],
        ["-X", "int_max_str_digits=1000"],
        ["-P"],
        ["-I"],
    ],
    ids=" ".join,
)
def test_the_interpreters_flags_are_the_users(flags: list[str]) -> None:
    source = """
        import sys, owngil
        def look():
            return tuple(sys.flags), dict(sys._xoptions), sys.warnoptions
        with owngil.Pool(1) as pool:
            there = pool.submit(look).result()
        print("same" if there == look() else (there, look()))
    """
    command = [sys.executable, *flags, "-c", scripts.dedent(source)]
    assert scripts.run(command, quiet="dev" not in flags).lines == ["same"]


def test_asserts_are_off_in_the_workers_of_an_optimised_program() -> None:
    source = """
        import owngil
        def check():
            assert False
            return "not checked"
        with owngil.Pool(1) as pool:
            print(pool.submit(check).result())
    """
    done = scripts.run([sys.executable, "-O", "-c", scripts.dedent(source)])
    assert done.lines == ["not checked"]


def test_hash_randomisation_is_the_users() -> None:
    source = """
        import owngil
        with owngil.Pool(2) as pool:
            print({pool.submit(hash, "word").result() for _ in range(4)} == {hash("word")})
    """
    assert scripts.run_code(source, env={"PYTHONHASHSEED": "12"}).lines == ["True"]


def test_start_spawn_inherits_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OWNGIL_TEST_WORD", "one")
    monkeypatch.setattr(sys, "argv", ["program"])
    with owngil.Pool(1, start="spawn") as pool:
        assert pool.submit(os.getcwd).result() == str(tmp_path)
        assert pool.submit(tasks.environment, "OWNGIL_TEST_WORD").result() == "one"
        assert pool.submit(_argv).result() == ["program"]
        assert pool.submit(_sys_path).result() == sys.path
        assert pool.submit(_read_stdin).result() == ("", "/dev/null")


def _sys_path() -> list[str]:
    return sys.path


def _argv() -> list[str]:
    return sys.argv


def _cwd(_: Any) -> str:
    return os.getcwd()


def _warn() -> str:
    warnings.warn("careful", FutureWarning, stacklevel=1)
    return "warned"


def _read_stdin() -> tuple[str, str]:
    return sys.stdin.read(), os.readlink("/proc/self/fd/0")

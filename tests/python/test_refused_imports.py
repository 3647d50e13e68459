# SPDX-License-Identifier: BSD-3-Clause
"""Modules that an interpreter is refused: who sees it, and what the user is told."""

from __future__ import annotations

import shlex
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import pytest

import owngil
from harness import scripts
from owngil._host import stop_tracing

if sys.version_info < (3, 13):
    pytest.skip("needs CPython 3.13 or later", allow_module_level=True)

# In C, and without a word on interpreters: so an interpreter with a GIL of its own is refused it.
SOURCE = """
#include <Python.h>
static PyModuleDef_Slot slots[] = {{0, NULL}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, "refuses", NULL, 0, NULL, slots};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModuleDef_Init(&module); }
"""


def lay_package(folder: Path, package: str, extension: str) -> None:
    """A `package` that goes on without its `extension`."""
    parts = extension.split(".")
    inner = folder.joinpath(*parts[:-1])
    inner.mkdir(parents=True)
    (inner / "refuses.c").write_text(SOURCE.replace("NAME", parts[-1]))
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    include = sysconfig.get_path("include")
    library = inner / (parts[-1] + sysconfig.get_config_var("EXT_SUFFIX"))
    subprocess.run(
        [*compiler, "-shared", "-fPIC", f"-I{include}", inner / "refuses.c", "-o", library],
        check=True,
    )
    outer = folder.joinpath(*package.split("."))
    outer.mkdir(parents=True, exist_ok=True)
    (outer / "__init__.py").write_text(
        f"try:\n    import {extension}\nexcept ImportError:\n    pass\nwhole = False\n"
    )


def is_whole(package: str) -> bool:
    __import__(package)
    return bool(sys.modules[package].whole)


@pytest.mark.parametrize(
    ("package", "extension", "then"),
    [
        ("yaml", "yaml._yaml", "no CLoader"),
        ("msgpack", "msgpack._cmsgpack", "pure Python"),
        ("google.protobuf", "google._upb._message", "pure Python"),
        ("polars", "_polars_runtime_32._polars_runtime", "broken"),
    ],
)
def test_a_package_that_goes_on_without_its_extension_is_told_once_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extension: str, then: str
) -> None:
    lay_package(tmp_path, package, extension)
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with owngil.Pool(2, kind="interpreter") as pool:
            assert not any(pool.map(is_whole, [package] * 20, chunksize=1))
    (warning,) = told
    assert warning.category is RuntimeWarning
    text = str(warning.message)
    assert f"owngil: {package} is not whole" in text
    assert then in text
    assert 'Pool(kind="process")' in text


def test_process_workers_are_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    lay_package(tmp_path, "yaml", "yaml._yaml")
    monkeypatch.syspath_prepend(tmp_path)
    with owngil.Pool(1) as pool:
        assert not pool.submit(is_whole, "yaml").result(30)
    assert not recwarn.list


def test_a_refusal_is_seen_though_the_importing_code_swallows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_package(tmp_path, "quiet", "quiet._parts")
    monkeypatch.syspath_prepend(tmp_path)

    def refused() -> list[tuple[str, str]]:
        from owngil import _refused_imports

        seen: list[tuple[str, str]] = []
        _refused_imports.subscribe(lambda name, error: seen.append((name, str(error))))
        __import__("quiet")
        for name in ("_tracemalloc", "nowhere"):  # built in and refused; not refused, but absent
            try:
                __import__(name)
            except ImportError:
                pass
        return seen

    with owngil.Pool(1, kind="interpreter") as pool:
        seen = pool.submit(refused).result(30)
    assert [name for name, _ in seen] == ["quiet._parts", "_tracemalloc"]
    assert all("does not support loading in subinterpreters" in text for _, text in seen)


def test_what_is_refused_and_not_swallowed_is_raised_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_package(tmp_path, "loud", "loud._parts")
    monkeypatch.syspath_prepend(tmp_path)

    def load() -> None:
        import loud._parts  # type: ignore[import-not-found]  # noqa: F401

    with owngil.Pool(1, kind="interpreter") as pool, pytest.raises(ImportError) as raised:
        pool.submit(load).result(30)
    assert 'Pool(kind="process")' in raised.value.__notes__[0]


def test_tracemalloc_is_refused_with_the_way_out() -> None:
    def trace() -> None:
        import tracemalloc

        tracemalloc.start()

    with owngil.Pool(1, kind="interpreter") as pool, pytest.raises(ImportError) as raised:
        pool.submit(trace).result(30)
    assert 'Pool(kind="process")' in raised.value.__notes__[0]


@pytest.mark.parametrize("start", ["template", "spawn"])
def test_a_program_that_traces_is_told_that_its_interpreters_do_not(
    tmp_path: Path, start: str
) -> None:
    script = tmp_path / "traces.py"
    script.write_text(
        "import owngil\n"
        f"with owngil.Pool(2, kind='interpreter', start={start!r}) as pool:\n"
        "    print(sum(pool.map(abs, range(-100, 0))))\n"
    )
    with scripts.Program([sys.executable, "-X", "tracemalloc", script]) as program:
        done = program.finish()
    assert (done.code, done.out) == (0, "5050\n")
    assert done.err.count("tracemalloc knows only one interpreter of a process") == 1


def test_a_host_stops_tracing_before_it_has_interpreters() -> None:
    import tracemalloc  # not above: workers import this module, and there it is refused

    told: list[str] = []
    tracemalloc.start()
    try:
        stop_tracing(told.append)
        assert not tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert len(told) == 1
    stop_tracing(told.append)
    assert len(told) == 1

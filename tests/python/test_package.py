# SPDX-License-Identifier: BSD-3-Clause
"""The package's face: its names, what importing it costs in modules, and its command."""

from __future__ import annotations

import sys
from importlib import metadata, resources

import pytest

import owngil
from harness import scripts


@pytest.mark.parametrize("name", ["Pool", "RemoteError", "WorkerDied", "PoolBroken", "worker"])
def test_the_public_names_are_there(name: str) -> None:
    assert name in owngil.__all__
    assert name in dir(owngil)
    assert getattr(owngil, name).__doc__


@pytest.mark.parametrize("name", ["RemoteError", "WorkerDied", "PoolBroken"])
def test_exceptions_are_shown_under_the_name_that_one_catches(name: str) -> None:
    assert getattr(owngil, name).__module__ == "owngil"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = owngil.no_such_name


def test_star_import_brings_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from owngil import *", names)
    assert set(owngil.__all__) <= names.keys()


def test_the_package_is_typed() -> None:
    assert resources.files("owngil").joinpath("py.typed").is_file()


def test_the_version_is_that_of_the_distribution() -> None:
    try:
        installed = metadata.version("owngil")
    except metadata.PackageNotFoundError:
        pytest.skip("used from the source tree, without having been installed")
    assert owngil.__version__ == installed


def test_importing_the_package_imports_nothing_dear() -> None:
    """`multiprocessing` and `cloudpickle` come when they are first needed."""
    dear = ("multiprocessing", "cloudpickle", "concurrent.futures.process", "asyncio", "logging")
    source = f"""
        import sys
        before = set(sys.modules)
        import owngil
        print([name for name in {dear} if name in sys.modules and name not in before])
    """
    assert scripts.run_code(source).lines == ["[]"]


def test_a_call_of_an_importable_function_needs_nothing_dear() -> None:
    source = """
        import sys, owngil
        with owngil.Pool(1) as pool: pool.submit(pow, 2, 3).result()
        print([name for name in ("multiprocessing", "cloudpickle") if name in sys.modules])
    """
    assert scripts.run_code(source).lines == ["[]"]


def test_the_command_teaches_and_python_m_is_the_same() -> None:
    done = scripts.run([sys.executable, "-m", "owngil"])
    assert "demo" in done.out
    assert scripts.run([sys.executable, "-m", "owngil", "--help"]).out == done.out
